package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline/agent/clock"
	"syncline/controller/experiment"
	"syncline/deploy/netlab"
)

// wireOptions are the flags of a demo for what lies between its hosts. Each may be
// THERE/BACK; parse reads them.
type wireOptions struct {
	delay, jitter, loss, reorder, rate, limit string
	seed                                      uint64
	// clocks are HOST:CLOCK.
	clocks []string

	// there is what the first host of the experiment sends over, back what every other
	// one does.
	there, back netlab.Direction
}

const wireHelp = `--delay, --jitter, --loss, --reorder and --rate put a wire between the hosts. It acts
once on every packet, as the packet leaves its host: with --delay 20ms each way between
any two hosts takes 20 ms, and a round trip 40 ms. 5ms/1ms is 5 ms for what the
experiment's first host sends, and 1 ms for what every other host sends. The order of packets
stays under --jitter, which is uniform; only --reorder changes it. What agents and
controller say to each other takes another way.`

func (o *wireOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.delay, "delay", "", "TIME[/TIME]: how long a packet is under way, one way (there/back), as in 20ms or 5ms/1ms")
	f.StringVar(&o.jitter, "jitter", "", "TIME[/TIME]: delays differ by up to this much, evenly; at most the delay")
	f.StringVar(&o.loss, "loss", "", "PERCENT[/PERCENT] of the packets are lost, as in 1%")
	f.StringVar(&o.reorder, "reorder", "", "PERCENT[/PERCENT] of the packets skip the delay and overtake, as in 0.1%")
	f.StringVar(&o.rate, "rate", "", "RATE[/RATE] at which a host sends, in bit, kbit, mbit or gbit a second, as in 10mbit")
	f.StringVar(&o.limit, "limit", "", fmt.Sprintf("SIZE[/SIZE] of the queue before a --rate, in packets or bytes, as in 50 or 64kB (default: %d)", netlab.DefaultLimit))
	f.Uint64Var(&o.seed, "seed", 0, "repeat the random choices of an earlier wire, by the number it printed")
	f.StringArrayVar(&o.clocks, "test-clock", nil, "HOST:CLOCK, a lying clock for the agent of that host of the experiment, as in B:offset=1s,ppm=100; may be repeated")
	for _, name := range []string{"delay", "jitter", "loss", "reorder", "rate", "limit", "seed"} {
		// The words after these are the user's own; no file is meant.
		if err := c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions); err != nil {
			panic(err)
		}
	}
}

// parse reads the flags and says what is wrong with them, each by its name.
func (o *wireOptions) parse() error {
	there, back := netlab.Direction{}, netlab.Direction{}
	for _, f := range []struct {
		name, text string
		read       func(string, *netlab.Direction) error
	}{
		{"delay", o.delay, readDelay},
		{"jitter", o.jitter, readJitter},
		{"loss", o.loss, readLoss},
		{"reorder", o.reorder, readReorder},
		{"rate", o.rate, readRate},
		{"limit", o.limit, readLimit},
	} {
		if f.text == "" {
			continue
		}
		first, second, two := strings.Cut(f.text, "/")
		if !two {
			second = first
		}
		for _, half := range []struct {
			text string
			way  *netlab.Direction
		}{{first, &there}, {second, &back}} {
			if err := f.read(half.text, half.way); err != nil {
				return wrongFlag(f.name, f.text, err)
			}
		}
	}
	for _, half := range []struct {
		way string
		netlab.Direction
	}{{"there", there}, {"back", back}} {
		if err := half.Check(); err != nil {
			return &exitError{code: exitUsage, err: fmt.Errorf("the wire (%s): %w", half.way, err)}
		}
	}
	if o.seed != 0 && there == (netlab.Direction{}) && back == there {
		return wrongFlag("seed", strconv.FormatUint(o.seed, 10), errors.New("there is nothing random without a wire; add --loss, --jitter or --reorder"))
	}
	o.there, o.back = there, back
	return nil
}

func wrongFlag(name, text string, err error) error {
	return &exitError{code: exitUsage, err: fmt.Errorf("--%s %s: %w", name, text, err)}
}

// asked reports whether there is to be a wire.
func (o *wireOptions) asked() bool {
	return o.there != netlab.Direction{} || o.back != netlab.Direction{}
}

// wires are those of the hosts of an experiment, by the names that they have in the
// lab. All act on what a host sends, so that each packet is acted on once.
func (o *wireOptions) wires(exp *experiment.Experiment, bindings map[string]string) map[string]netlab.Wire {
	if !o.asked() {
		return nil
	}
	all := map[string]netlab.Wire{}
	for i, h := range exp.Hosts {
		w := netlab.Wire{Out: o.back, Seed: o.seed}
		if i == 0 {
			w.Out = o.there
		}
		all[bindings[h.Name]] = w
	}
	return all
}

// clockArgs are what the agents of the experiment's hosts are told of their test
// clocks, by the hosts' names in the lab.
func (o *wireOptions) clockArgs(exp *experiment.Experiment, bindings map[string]string) (map[string][]string, error) {
	args := map[string][]string{}
	for _, text := range o.clocks {
		host, spec, ok := strings.Cut(text, ":")
		if !ok {
			return nil, wrongFlag("test-clock", text, errors.New("write HOST:CLOCK, as in B:offset=1s,ppm=100"))
		}
		name, known := bindings[host]
		if !known {
			return nil, wrongFlag("test-clock", text, fmt.Errorf("no host of %s is called %q", exp.Name, host))
		}
		if len(args[name]) > 0 {
			return nil, wrongFlag("test-clock", text, fmt.Errorf("host %s has a test clock already", host))
		}
		if _, err := clock.ParseTest(spec); err != nil {
			return nil, wrongFlag("test-clock", text, err)
		}
		args[name] = []string{"--test-clock", spec}
	}
	return args, nil
}

// sayWires tells what the wires did, once all is over.
func sayWires(w io.Writer, l *lab) error {
	reports, err := l.Wires()
	if err != nil || len(reports) == 0 {
		return err
	}
	role := map[string]string{}
	for r, name := range l.bindings {
		role[name] = r
	}
	var sent []string
	var median, most time.Duration
	for _, r := range reports {
		var dropped []string
		for _, d := range []struct {
			n    uint64
			what string
		}{{r.Out.Lost, "lost"}, {r.Out.Overflowed, "without room"}, {r.Missed, "missed by a busy machine"}} {
			if d.n > 0 {
				dropped = append(dropped, fmt.Sprintf("%d %s", d.n, d.what))
			}
		}
		text := fmt.Sprintf("%s sent %d frames", role[r.Host], r.Out.Taken+r.Missed)
		if len(dropped) > 0 {
			text += " (" + strings.Join(dropped, ", ") + ")"
		}
		sent = append(sent, text)
		median, most = max(median, r.In.Late.Quantile(0.5)), max(most, r.In.Late.Quantile(0.99))
	}
	if reports[0].Mechanism == netlab.Netem {
		fmt.Fprintf(w, "wire: by the kernel's netem; %s\n", strings.Join(sent, ", "))
		return nil
	}
	fmt.Fprintf(w, "wire: in user space, --seed %d; %s; late by %v (median), %v (99 %%)\n",
		reports[0].Wire.Seed, strings.Join(sent, ", "), median.Round(time.Microsecond), most.Round(time.Microsecond))
	return nil
}

func readDelay(text string, d *netlab.Direction) (err error) {
	d.Delay, err = readTime(text)
	return err
}

func readJitter(text string, d *netlab.Direction) (err error) {
	d.Jitter, err = readTime(text)
	return err
}

func readTime(text string) (time.Duration, error) {
	t, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no time; write it as in 20ms", text)
	case t < 0:
		return 0, fmt.Errorf("%v is before now; give a time from 0", t)
	}
	return t, nil
}

func readLoss(text string, d *netlab.Direction) (err error) {
	d.Loss, err = readPercent(text)
	return err
}

func readReorder(text string, d *netlab.Direction) (err error) {
	d.Reorder, err = readPercent(text)
	return err
}

// readPercent insists on the sign, since 1 could also mean all.
func readPercent(text string) (float64, error) {
	number, ok := strings.CutSuffix(text, "%")
	p, err := strconv.ParseFloat(number, 64)
	switch {
	case !ok || err != nil:
		return 0, fmt.Errorf("%q is no percentage; write it as in 1%%", text)
	case !(p >= 0 && p <= 100):
		return 0, fmt.Errorf("%s is not between 0%% and 100%%", text)
	}
	return p / 100, nil
}

// readRate reads what tc(8) calls a rate, in bits a second.
func readRate(text string, d *netlab.Direction) error {
	rate, ok := readUnits(text, []unit{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}})
	switch {
	case !ok:
		return fmt.Errorf("%q is no rate; write it as in 10mbit (bit, kbit, mbit or gbit a second)", text)
	case !(rate >= netlab.MinRate && rate <= netlab.MaxRate):
		return fmt.Errorf("%s is not between 1kbit and 100gbit", text)
	}
	d.Rate = uint64(math.Round(rate))
	return nil
}

// readLimit reads a number of packets, or of bytes if it has their unit.
func readLimit(text string, d *netlab.Direction) error {
	const most = 1 << 30
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > most {
			return fmt.Errorf("a queue holds 1 to %d packets", most)
		}
		d.Limit = n
		return nil
	}
	bytes, ok := readUnits(text, []unit{{"MB", 1e6}, {"kB", 1e3}, {"B", 1}})
	switch {
	case !ok:
		return fmt.Errorf("%q is no size of a queue; write packets as in 50 or bytes as in 64kB", text)
	case !(bytes >= 1 && bytes <= most):
		return fmt.Errorf("a queue holds 1 to %d bytes", most)
	}
	d.LimitBytes = int(bytes)
	return nil
}

type unit struct {
	name  string
	times float64
}

// readUnits reads a number with one of the units behind it, the longer names first.
func readUnits(text string, units []unit) (float64, bool) {
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			n, err := strconv.ParseFloat(number, 64)
			return n * u.times, err == nil
		}
	}
	return 0, false
}
