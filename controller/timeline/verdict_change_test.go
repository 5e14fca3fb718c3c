package timeline

import (
	"strings"
	"testing"
)

// A change that its host refused leaves nothing to judge: no pass, since the experiment was
// not what it is about, and no fail, since that was not TCP's doing.
func TestRefusedChange(t *testing.T) {
	exp := expectations(t, handshakePackets, "result try ok", "never any SYN")
	for step, want := range map[string]string{
		"A client apply(cut) 85..86 = 0 fails sysctl x = 1: operation not permitted": "lane client could not apply(cut): sysctl x = 1: operation not permitted",
		"A client undo(cut) 85..86 = timeout":                                        "lane client could not undo(cut) within its limit",
		"A client apply(cut) 85..86 = 0":                                             "",
	} {
		told := map[Ruling]int{}
		for _, v := range parseScene(t, handshake+step+"\n").Judge(exp) {
			told[v.Ruling]++
			if v.Ruling == CannotTell && !strings.Contains(v.Reason, want) {
				t.Errorf("%s: %s: %q does not say %q", step, v.Expectation, v.Reason, want)
			}
		}
		if want != "" && (told[Fail] != 0 || told[Pass] != 1) { // of the record, which is whole
			t.Errorf("%s: rulings %v", step, told)
		}
		if want == "" && (told[CannotTell] != 0 || told[Fail] == 0 || told[Pass] == 0) {
			t.Errorf("%s: rulings %v", step, told)
		}
	}
}
