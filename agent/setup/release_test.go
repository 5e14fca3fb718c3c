package setup

import "testing"

func TestKernelWithin(t *testing.T) {
	for _, row := range []struct {
		release, comparison, wanted string
		within                      bool
	}{
		{"6.12.3-amd64", "=", "6.12", true},
		{"6.12.3-amd64", "=", "6.12.3", true},
		{"6.12.3-amd64", "=", "6", true},
		{"6.12.3-amd64", ">", "6.12", false},
		{"6.12.3-amd64", ">", "6.12.2", true},
		{"6.12.3-amd64", ">=", "6.9", true},
		{"6.12.3-amd64", "<", "6.100", true},
		{"6.12.3-amd64", "<=", "6.12", true},
		{"6.12-rc1", "=", "6.12.0", true},
		{"6.18.44-fc-v669", "<", "6.18.44", false},
		{"5.15.0.foo", "=", "5.15.0", true},
	} {
		got, err := kernelWithin(row.release, row.comparison, row.wanted)
		if err != nil || got != row.within {
			t.Errorf("%s %s %s: %v, %v", row.release, row.comparison, row.wanted, got, err)
		}
	}
	for _, row := range [][3]string{
		{"6.1", "==", "6.1"}, {"6.1", "=", ""}, {"6.1", "=", "6.x"}, {"6.1", "=", "-6"}, {"6.1", "=", "6.1.2.3"}, {"generic", "=", "6.1"},
	} {
		if _, err := kernelWithin(row[0], row[1], row[2]); err == nil {
			t.Errorf("%v: no error", row)
		}
	}
}
