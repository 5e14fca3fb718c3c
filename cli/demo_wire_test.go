package cli

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline/controller/experiment"
	"syncline/deploy/netlab"
)

func TestWireFlags(t *testing.T) {
	for _, test := range []struct {
		name        string
		given       wireOptions
		there, back netlab.Direction
	}{
		{name: "nothing"},
		{
			name:  "both ways alike",
			given: wireOptions{delay: "20ms", jitter: "2ms", loss: "1%", reorder: "0.1%", rate: "10mbit", limit: "50"},
			there: netlab.Direction{Delay: 20 * time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.01, Reorder: 0.001, Rate: 10_000_000, Limit: 50},
			back:  netlab.Direction{Delay: 20 * time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.01, Reorder: 0.001, Rate: 10_000_000, Limit: 50},
		},
		{
			name:  "each way its own",
			given: wireOptions{delay: "5ms/1ms", loss: "0%/100%", rate: "1.5gbit/64kbit", limit: "64kB/1.5MB"},
			there: netlab.Direction{Delay: 5 * time.Millisecond, Rate: 1_500_000_000, LimitBytes: 64_000},
			back:  netlab.Direction{Delay: time.Millisecond, Loss: 1, Rate: 64_000, LimitBytes: 1_500_000},
		},
		{name: "one way only", given: wireOptions{delay: "5ms/0s"}, there: netlab.Direction{Delay: 5 * time.Millisecond}},
		{name: "a few bits", given: wireOptions{rate: "1000bit", limit: "9000B"},
			there: netlab.Direction{Rate: 1000, LimitBytes: 9000}, back: netlab.Direction{Rate: 1000, LimitBytes: 9000}},
	} {
		o := test.given
		if err := o.parse(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff([2]netlab.Direction{test.there, test.back}, [2]netlab.Direction{o.there, o.back}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if o.asked() != (test.name != "nothing") {
			t.Errorf("%s: asked is %v", test.name, o.asked())
		}
	}
}

func TestWrongWireFlagsSayWhy(t *testing.T) {
	for _, test := range []struct {
		given wireOptions
		want  string
	}{
		{wireOptions{delay: "fast"}, `--delay fast: "fast" is no time`},
		{wireOptions{delay: "20"}, `as in 20ms`},
		{wireOptions{delay: "-1ms"}, `before now`},
		{wireOptions{delay: "2m"}, `must be 0 to 1m0s`},
		{wireOptions{delay: "1ms/2ms/3ms"}, `"2ms/3ms" is no time`},
		{wireOptions{delay: "1ms/"}, `"" is no time`},
		{wireOptions{jitter: "1ms"}, `the jitter must be 0 to the delay of 0s`},
		{wireOptions{delay: "5ms/1ms", jitter: "2ms"}, `the wire (back): the jitter must be 0 to the delay of 1ms`},
		{wireOptions{loss: "1"}, `write it as in 1%`},
		{wireOptions{loss: "101%"}, `not between 0% and 100%`},
		{wireOptions{loss: "-1%"}, `not between 0% and 100%`},
		{wireOptions{loss: "NaN%"}, `not between 0% and 100%`},
		{wireOptions{reorder: "1%"}, `reordering needs a delay`},
		{wireOptions{rate: "10"}, `write it as in 10mbit`},
		{wireOptions{rate: "10MB"}, `"10MB" is no rate`},
		{wireOptions{rate: "1bit"}, `not between 1kbit and 100gbit`},
		{wireOptions{rate: "-1mbit"}, `not between 1kbit and 100gbit`},
		{wireOptions{rate: "NaNmbit"}, `not between 1kbit and 100gbit`},
		{wireOptions{rate: "1000gbit"}, `not between 1kbit and 100gbit`},
		{wireOptions{limit: "10"}, `a limit of the queue needs a rate`},
		{wireOptions{rate: "1mbit", limit: "0"}, `holds 1 to`},
		{wireOptions{rate: "1mbit", limit: "-5"}, `holds 1 to`},
		{wireOptions{rate: "1mbit", limit: "0.1B"}, `holds 1 to`},
		{wireOptions{rate: "1mbit", limit: "10 cows"}, `is no size of a queue`},
		{wireOptions{seed: 1}, `nothing random without a wire`},
	} {
		err := test.given.parse()
		var e *exitError
		if !errors.As(err, &e) || e.code != exitUsage || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want exit %d with %q", test.given, err, exitUsage, test.want)
		}
	}
}

// A wire acts once on each packet: all of it is in what the hosts send.
func TestWiresActOnce(t *testing.T) {
	exp := mustParse(t, library(t, demoExperiment))
	bindings := map[string]string{"A": "vm1", "B": "vm2"}
	o := wireOptions{delay: "5ms/1ms", seed: 3}
	if err := o.parse(); err != nil {
		t.Fatal(err)
	}
	want := map[string]netlab.Wire{
		"vm1": {Out: netlab.Direction{Delay: 5 * time.Millisecond}, Seed: 3},
		"vm2": {Out: netlab.Direction{Delay: time.Millisecond}, Seed: 3},
	}
	if diff := cmp.Diff(want, o.wires(exp, bindings)); diff != "" {
		t.Errorf("wires (-want +got):\n%s", diff)
	}
	if got := new(wireOptions).wires(exp, bindings); got != nil {
		t.Errorf("nobody asked for %v", got)
	}
}

func TestTestClockFlags(t *testing.T) {
	exp := &experiment.Experiment{Name: "two"}
	bindings := map[string]string{"A": "vm1", "B": "vm2"}
	o := wireOptions{clocks: []string{"B:offset=1s,ppm=100", "A:step=1ms@10s"}}
	args, err := o.clockArgs(exp, bindings)
	want := map[string][]string{"vm2": {"--test-clock", "offset=1s,ppm=100"}, "vm1": {"--test-clock", "step=1ms@10s"}}
	if err != nil || !maps.EqualFunc(args, want, func(a, b []string) bool { return cmp.Equal(a, b) }) {
		t.Errorf("got %v, %v; want %v", args, err, want)
	}
	for text, why := range map[string]string{
		"offset=1s":     "write HOST:CLOCK",
		"C:offset=1s":   `no host of two is called "C"`,
		"B:offset=much": "offset=much",
	} {
		o := wireOptions{clocks: []string{text}}
		if _, err := o.clockArgs(exp, bindings); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", text, err, why)
		}
	}
	twice := wireOptions{clocks: []string{"B:ppm=1", "B:ppm=2"}}
	if _, err := twice.clockArgs(exp, bindings); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("two clocks of one host: %v", err)
	}
}

// What the flags take, a lab takes.
func FuzzWireFlags(f *testing.F) {
	f.Add("20ms", "2ms", "1%", "0.1%", "10mbit", "50")
	f.Add("5ms/1ms", "", "0%/100%", "", "1.5gbit/64kbit", "64kB/1MB")
	f.Add("1h", "-1s", "NaN%", "1e9%", "Infgbit", "1e300MB")
	f.Fuzz(func(t *testing.T, delay, jitter, loss, reorder, rate, limit string) {
		o := wireOptions{delay: delay, jitter: jitter, loss: loss, reorder: reorder, rate: rate, limit: limit}
		if err := o.parse(); err != nil {
			var e *exitError
			if !errors.As(err, &e) || e.code != exitUsage {
				t.Fatalf("%v is no error of usage", err)
			}
			return
		}
		for _, d := range []netlab.Direction{o.there, o.back} {
			if err := d.Check(); err != nil {
				t.Fatalf("%+v was taken: %v", d, err)
			}
		}
	})
}
