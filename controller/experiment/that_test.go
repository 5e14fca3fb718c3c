package experiment

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	celref "cel.dev/cel-go/common/types/ref"
)

// ruler is a clock for tests: moment n is at n milliseconds, known to ± err.
type ruler struct{ err int64 }

func (r ruler) Apart(a, b int) (lo, hi int64) {
	d := int64(b-a) * 1_000_000
	if a == b {
		return 0, 0
	}
	return d - r.err, d + r.err
}

func (r ruler) Order(a, b int) (notAfter, after bool) {
	lo, hi := r.Apart(a, b)
	return lo >= 0, hi < 0
}

// evaluate runs an expression in a small world: rtt is 40 ms ± 1 ms, phase("x") is
// 2 ms ± 100 µs, phase("open") is not bounded, packets[n] was sent at n ms and never
// received, and clocks are off by 300 µs.
func evaluate(t *testing.T, source string) (celref.Val, error) {
	t.Helper()
	ast, faults := CompileThat(source)
	if len(faults) > 0 {
		t.Fatalf("%s: %+v", source, faults)
	}
	if ast == nil {
		t.Fatalf("%s: neither faults nor a program", source)
	}
	program, err := NewThatProgram(source)
	if err != nil {
		t.Fatal(err)
	}
	packets := make([]celref.Val, 8)
	for i := range packets {
		packets[i] = NewThatPacket(func(field string) celref.Val {
			switch field {
			case "sent":
				return NewThatInstant(ruler{300_000}, i)
			case "length":
				return types.Int(i)
			}
			return nil
		})
	}
	info := make([]byte, 104)
	info[2] = 3
	binary.LittleEndian.PutUint32(info[68:], 250)
	activation, err := cel.FunctionVars(map[string]any{
		"rtt":     NewThatSpan(39_000_000, 41_000_000),
		"packets": types.NewRefValList(types.DefaultTypeAdapter, packets),
		"calls":   types.NewRefValList(types.DefaultTypeAdapter, nil),
		"vars":    map[string]any{"clients": int64(5), "name": "x"},
	}, map[string]cel.LateBoundFunction{
		"phase": func(_ string, args ...celref.Val) celref.Val {
			switch args[0] {
			case types.String("x"):
				return NewThatSpan(1_900_000, 2_100_000)
			case types.String("open"):
				return NewThatSpan(-1<<62, 1<<62)
			}
			return NewThatNothing("no phase " + string(args[0].(types.String)))
		},
		"info":     func(string, ...celref.Val) celref.Val { return NewThatInfo(info, "ESTABLISHED") },
		"counters": func(string, ...celref.Val) celref.Val { return ThatCounters(map[string]int64{"Tcp.X": 2}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := program.Eval(activation)
	return out, err
}

func TestThatIsTrueFalseOrUndecided(t *testing.T) {
	for _, test := range []struct{ source, want string }{
		{`phase("x") < duration("3ms")`, "true"},
		{`phase("x") < duration("2100us")`, "undecided"},
		{`phase("x") <= duration("2100us")`, "true"},
		{`phase("x") < duration("2ms")`, "undecided"},
		{`phase("x") > duration("1ms")`, "true"},
		{`duration("3ms") > phase("x")`, "true"},
		{`duration("1ms") >= phase("x")`, "false"},
		{`duration("1ms") + phase("x") >= duration("2900us")`, "true"},
		{`phase("x") - duration("1ms") < duration("1200us")`, "true"},
		{`phase("x") + rtt < duration("43100us")`, "undecided"},
		{`phase("x") + rtt < duration("44ms")`, "true"},
		{`rtt - phase("x") > duration("37ms")`, "undecided"},
		{`2 * rtt <= duration("82ms")`, "true"},
		{`rtt * 0.5 < duration("20ms")`, "undecided"},
		{`rtt * -1 < duration("0s")`, "true"},
		{`3 * duration("2ms") > 2 * phase("x")`, "true"},
		{`vars.clients * duration("1ms") > phase("x")`, "true"},
		{`vars.clients + 1 == 6 && vars.clients < 6 && 2 * vars.clients - 1 == 9 && vars.clients >= 5`, "true"},
		{`phase("open") > duration("1h")`, "undecided"},
		{`phase("open") + rtt > duration("1h")`, "undecided"},
		{`phase("x") == phase("x")`, "undecided"},
		{`phase("x") == rtt`, "false"},
		{`info("c").rtt == info("c").rtt && info("c").rtt == 1 * duration("250us")`, "true"},

		{`packets[0].sent < packets[1].sent`, "true"},
		{`packets[1].sent <= packets[0].sent`, "false"},
		{`packets[2].sent > packets[1].sent && packets[2].sent >= packets[1].sent`, "true"},
		{`packets[0].sent <= packets[0].sent`, "true"},
		{`packets[0].sent < packets[0].sent`, "false"},
		{`packets[0].sent == packets[0].sent && packets[0].sent != packets[3].sent`, "true"},
		{`packets[3].sent - packets[0].sent > duration("2500us")`, "true"},
		{`packets[3].sent - packets[0].sent > duration("3ms")`, "undecided"},
		{`has(packets[0].sent) && !has(packets[0].received)`, "true"},
		{`packets[0].received > packets[0].sent`, "undecided"},

		// What cannot be told does not matter where the rest decides.
		{`phase("x") < duration("2ms") || size(packets) == 8`, "true"},
		{`size(packets) == 7 && phase("x") < duration("2ms")`, "false"},
		{`size(packets) == 8 && phase("x") < duration("2ms")`, "undecided"},
		{`packets.exists(p, p.length == 3) && packets.all(p, p.length < 8)`, "true"},
		{`packets.exists_one(p, p.length > 6)`, "true"},
		{`packets.exists(p, p.received > p.sent) || true`, "true"},

		{`phase("none") < duration("2ms")`, "nothing"},
		{`phase("none") < duration("2ms") && false`, "false"},
		{`counters("B")["Tcp.X"] == 2 && counters("B")["Tcp.Y"] == 0`, "true"},
		{`info("c").state == "ESTABLISHED" && info("c").retransmits == 3`, "true"},
		{`info("c").bytes_acked == 0`, "undecided"},
		{`packets[9].length == 1`, "error"},
		{`1 / (size(packets) - 8) == 1`, "error"},
		{`vars["none"] == 1`, "error"},
	} {
		out, err := evaluate(t, test.source)
		got := "error"
		var nothing *ThatNothing
		var undecided *ThatUndecided
		switch {
		case errors.As(err, &nothing):
			got = "nothing"
		case errors.As(err, &undecided):
			got = "undecided"
		case err == nil:
			got = map[bool]string{true: "true", false: "false"}[out == types.True]
		}
		if got != test.want {
			t.Errorf("%s is %s (%v, %v), want %s", test.source, got, out, err, test.want)
		}
	}
}

func TestThatFaults(t *testing.T) {
	for _, test := range []struct {
		source string
		offset int
		parts  []string
	}{
		{`rtt <`, 5, []string{"Syntax error"}},
		{`phase("x")`, 0, []string{"true or false", "span"}},
		{`rrt < duration("1ms")`, 0, []string{`unknown name "rrt"`, "rtt"}},
		{"true &&\n  packtes.size() > 1", 10, []string{`unknown name "packtes"`, "packets"}},
		{`packets.all(p, p.lenght > 1)`, 16, []string{`unknown field "lenght"`, "length"}},
		{`phase(1) < duration("1ms")`, 5, []string{"no such operation", "phase"}},
		{`phase("é") < rtt && rtt < 5`, 25, []string{"no such operation", "(span, int)"}},
		{`calls.all(c, packets.all(p, packets.all(q, packets.all(r, r.length > q.length))))`, 0, []string{"steps"}},
		{strings.Repeat("(", 3000) + "true" + strings.Repeat(")", 3000), 0, nil},
		{`size("` + strings.Repeat("x", MaxThat) + `") > 1`, 0, nil},
		{`syncline.packet{length: 1}.length == 1`, 0, nil},
	} {
		ast, faults := CompileThat(test.source)
		if len(faults) == 0 {
			if _, err := evaluate(t, test.source); err == nil {
				t.Errorf("%s has no fault", shorten(test.source))
			}
			continue
		}
		if ast != nil {
			t.Errorf("%s: a program in spite of faults", shorten(test.source))
		}
		for _, part := range test.parts {
			if !strings.Contains(faults[0].Message, part) {
				t.Errorf("%s: %q does not say %q", shorten(test.source), faults[0].Message, part)
			}
		}
		if test.parts != nil && faults[0].Offset != test.offset {
			t.Errorf("%s: fault at %d, want %d", shorten(test.source), faults[0].Offset, test.offset)
		}
	}
}

// TestThatNamesCompile: what the table of names says can be written.
func TestThatNamesCompile(t *testing.T) {
	holders := map[string]string{"call": "calls[0]", "packet": "packets[0]", "info": `info("client.c")`}
	for _, n := range ThatNames() {
		source := n.Name
		if holder, field, ok := strings.Cut(n.Name, "."); ok && holders[holder] != "" {
			source = holders[holder] + "." + field
		}
		ast, faults := CompileThat("[" + source + "].size() == 1")
		if len(faults) > 0 {
			t.Errorf("%s: %s", source, faults[0].Message)
			continue
		}
		if n.Meaning == "" || n.Type == "" || strings.Contains(n.Type, thatPackage) {
			t.Errorf("%s is of type %q and means %q", n.Name, n.Type, n.Meaning)
		}
		if len(ThatSources(ast)) == 0 && n.Name != "vars" {
			t.Errorf("%s is of no source", n.Name)
		}
		for _, source := range ThatSources(ast) {
			known := false
			for _, s := range sources {
				known = known || s.name == source
			}
			if !known {
				t.Errorf("%s is of the source %q, which there is not", n.Name, source)
			}
		}
	}
}

func FuzzThat(f *testing.F) {
	for _, seed := range []string{
		`phase("connect.blocked") < 2 * rtt`, `packets.all(p, has(p.received) && p.received > p.sent)`,
		`calls.exists(c, c.errno == "ECONNREFUSED")`, `counters("B")["TcpExt.ListenDrops"] == vars.clients`,
		`rtt <`, "a\n\tb", "\xff", `"é" + rtt`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		ast, faults := CompileThat(source)
		if (ast == nil) != (len(faults) > 0) {
			t.Fatalf("%d faults and a program: %v", len(faults), ast != nil)
		}
		for _, fault := range faults {
			if fault.Offset < 0 || fault.Offset > len(source) || fault.Message == "" {
				t.Fatalf("fault %+v in %d bytes", fault, len(source))
			}
		}
		if ast == nil {
			return
		}
		if _, err := NewThatProgram(source); err != nil {
			t.Fatal(err)
		}
	})
}

const thatExample = `packets.all(p, has(p.received)) && phase("connect.blocked") < 2 * rtt`

func BenchmarkCompileThat(b *testing.B) {
	for b.Loop() {
		CompileThat(thatExample)
	}
}

func BenchmarkThatProgram(b *testing.B) {
	for b.Loop() {
		if _, err := NewThatProgram(thatExample); err != nil {
			b.Fatal(err)
		}
	}
}
