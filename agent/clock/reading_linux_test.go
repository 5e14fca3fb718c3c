package clock

import (
	"context"
	"testing"
	"time"
)

func TestReaderReadsAllClocks(t *testing.T) {
	var r reader
	a, missing := r.read()
	for _, m := range missing {
		t.Logf("not here: %v", m)
	}
	b, again := r.read()
	if len(again) > 0 {
		t.Errorf("what is missing was told twice: %v", again)
	}
	if a.Raw != nil {
		if raw, err, ok := a.RawAt(); !ok || abs(raw-a.Raw.Value) > a.Raw.Err+2*abs(a.Raw.Monotonic-a.Monotonic)+1 || err <= a.Raw.Err {
			t.Errorf("CLOCK_MONOTONIC_RAW was %d ± %d at %d, from %+v", raw, err, a.Monotonic, *a.Raw)
		}
		if b.Raw.Value <= a.Raw.Value {
			t.Errorf("CLOCK_MONOTONIC_RAW went from %d to %d", a.Raw.Value, b.Raw.Value)
		}
	}
	if a.Boot != nil && a.Boot.ahead() < -a.Boot.Err {
		t.Errorf("CLOCK_BOOTTIME is %d ns behind CLOCK_MONOTONIC, which it never is", -a.Boot.ahead())
	}
	if a.Kernel != nil && abs(a.Kernel.Rate) > 11e7 {
		t.Errorf("the kernel makes its clock go %d ppb faster; it can make that 500 ppm, and 10 %% by the tick", a.Kernel.Rate)
	}
}

func TestAlarmWaitsAndCanBeCutShort(t *testing.T) {
	a, err := newAlarm()
	if err != nil {
		t.Skipf("no alarm here: %v", err)
	}
	defer a.close()
	began := time.Now()
	if err := a.wait(t.Context(), 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited < 20*time.Millisecond {
		// Somebody set the clock of this machine, or the alarm does not wait.
		t.Logf("waited %v", waited)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	began = time.Now()
	if err := a.wait(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := a.wait(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited > 30*time.Second {
		t.Errorf("a wait whose context was done took %v", waited)
	}
}
