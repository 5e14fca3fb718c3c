package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline/controller/experiment"
	"syncline/deploy/netlab"
	"syncline/proto/identity"
	synclinev1 "syncline/proto/syncline/v1"
)

// demoExperiment is what `demo` runs if it is told nothing else.
const demoExperiment = "basic-open-close"

// upLimit is how long the lab's processes may take to find each other.
const upLimit = 15 * time.Second

func (a *app) demoCommand() *cobra.Command {
	var opts runOptions
	var look ladderOptions
	var wire wireOptions
	var page reportOptions
	var keep bool
	c := &cobra.Command{
		Use:   "demo [NAME|FILE]",
		Short: "Make a whole lab on this machine, run an experiment in it, tidy up",
		Long: `Make a whole lab on this machine: each host of the experiment is a network
namespace on a bridge, with an agent of its own, beside a controller. Run the
experiment (basic-open-close, another scenario of the library, or a file), draw its
ladder, judge it, and leave nothing behind.

Without root the hosts are addresses 127.0.0.x of this machine, and the demo says
what that lacks and how to get it.

` + wireHelp,
		Example: `  syncline demo
  syncline demo connect-refused
  syncline demo -o json > timeline.json
  syncline demo close-with-unread-data --to unread.html
  syncline demo --delay 20ms --jitter 2ms --loss 1%
  syncline demo --delay 5ms/1ms        a path that takes longer one way
  syncline demo --keep                 leave the lab up, and say how to talk to it`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneArgument("NAME or FILE")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := look.check(c); err != nil {
				return err
			}
			if err := opts.check(c); err != nil {
				return err
			}
			if err := page.checkDemo(); err != nil {
				return err
			}
			file := demoExperiment
			if len(args) == 1 {
				file = args[0]
			}
			if err := wire.parse(); err != nil {
				return err
			}
			return a.demo(c.Context(), file, opts, look, demoLab{wire: wire, keep: keep, page: page})
		},
	}
	look.flags(c)
	opts.flags(c)
	wire.flags(c)
	page.flags(c)
	c.Flags().BoolVar(&keep, "keep", false, "leave the lab up, and say how to talk to it")
	return c
}

// demoLab is what lab a demo is to make.
type demoLab struct {
	wire wireOptions
	// keep leaves it up.
	keep bool
	// page is where the page of the run goes, if it is to be written.
	page reportOptions
	// controllerArgs and agentArgs are given to the controller, and to every agent, besides
	// what they are told of their host.
	controllerArgs, agentArgs []string
}

func (a *app) demo(ctx context.Context, file string, opts runOptions, look ladderOptions, want demoLab) (err error) {
	exp, source, err := a.readExperiment(file, opts.plan())
	if err != nil {
		return err
	}
	l, err := a.makeLab(exp, want)
	if err != nil {
		return err
	}
	keep, kept := want.keep, false
	defer func() {
		cerr := l.Close()
		if keep && !kept {
			cerr = errors.Join(cerr, l.giveUp())
		}
		if cerr != nil {
			err = &exitError{code: exitRefused, err: errors.Join(err, fmt.Errorf("tidy up: %w", cerr))}
		}
	}()
	opts.bindings = l.bindings
	if err := l.start(ctx); err != nil {
		return err
	}
	operator := &app{Streams: a.Streams, controller: l.socket(), noColor: a.noColor}
	cl, err := operator.dial(ctx)
	if err != nil {
		return err
	}
	defer cl.close()
	if err := l.await(ctx, cl); err != nil {
		return err
	}
	verdict := operator.demonstrate(ctx, cl, exp, file, source, opts, look, want.page)
	if err := sayWires(a.Err, l); err != nil {
		return errors.Join(verdict, err)
	}
	var failed *exitError
	if keep && (verdict == nil || errors.As(verdict, &failed) && failed.err == nil) {
		kept = true
		l.sayHowToTalk()
	}
	return verdict
}

// demonstrate runs the experiment, draws a repetition and judges all of them.
func (a *app) demonstrate(ctx context.Context, cl *client, exp *experiment.Experiment, file string, source []byte, opts runOptions, look ladderOptions, page reportOptions) error {
	run, err := a.execute(ctx, cl, file, source, opts)
	if err != nil {
		return err
	}
	if run.RepetitionsDone == 0 && run.State != synclinev1.RunState_RUN_STATE_SEALED {
		return notWhole(run)
	}
	summary, err := collectVerdicts(ctx, cl, run)
	if err != nil {
		return err
	}
	if err := a.showTimeline(ctx, cl, run.Id, summary.telling(), look); err != nil {
		return err
	}
	if look.output == "text" {
		fmt.Fprintln(a.Out)
		if err := a.drawRun(a.Out, run, summary, look); err != nil {
			return err
		}
	}
	if err := a.demoPage(ctx, cl, run, file, page); err != nil {
		return err
	}
	return outcome(exp, run, summary)
}

// lab is the demo's lab and its processes.
type lab struct {
	*netlab.Lab
	app      *app
	exp      *experiment.Experiment
	bindings map[string]string
	// local is true if the hosts are addresses of one machine.
	local bool
	// controllerArgs and agentArgs are as in demoLab.
	controllerArgs, agentArgs []string
	// hostArgs are given to the agent of one host, by the host's name in the lab.
	hostArgs  map[string][]string
	processes []member
}

// member is one process of the lab.
type member struct {
	name string
	args []string
	*netlab.Process
}

const controllerHost = "controller"

// makeLab makes a host for each role, and one for the controller.
func (a *app) makeLab(exp *experiment.Experiment, want demoLab) (*lab, error) {
	l := &lab{app: a, exp: exp, bindings: map[string]string{}, controllerArgs: want.controllerArgs, agentArgs: want.agentArgs}
	var cfg netlab.Config
	for i, h := range exp.Hosts {
		name := fmt.Sprintf("vm%d", i+1)
		l.bindings[h.Name] = name
		cfg.Hosts = append(cfg.Hosts, name)
	}
	cfg.Hosts = append(cfg.Hosts, controllerHost)
	cfg.Keep = want.keep
	cfg.Wires = want.wire.wires(exp, l.bindings)
	var err error
	if l.hostArgs, err = want.wire.clockArgs(exp, l.bindings); err != nil {
		return nil, err
	}
	made, err := netlab.New(cfg)
	if errors.Is(err, netlab.ErrPrivilege) {
		if want.wire.asked() {
			return nil, &exitError{code: exitRefused, err: fmt.Errorf("a wire lies between network namespaces, and without them the hosts are addresses of one machine: %w", err)}
		}
		if len(want.wire.clocks) > 0 {
			// As for a wire: what was asked for would not be what is measured.
			return nil, &exitError{code: exitRefused, err: fmt.Errorf("--test-clock: without network namespaces the hosts are addresses of one machine, and read its one clock: %w", err)}
		}
		l.local = true
		made, err = netlab.NewLoopback(cfg)
	}
	if err != nil {
		return nil, &exitError{code: exitRefused, err: err}
	}
	l.Lab = made
	for _, m := range made.Missing() {
		fmt.Fprintln(a.Err, "missing:", m)
	}
	return l, nil
}

func (l *lab) socket() string { return "unix:" + filepath.Join(l.Dir(), "controller.sock") }

// start starts the controller and an agent on each host.
func (l *lab) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file: %w", err)
	}
	if err := l.issue(); err != nil {
		return err
	}
	host := l.Host(controllerHost)
	address := netip.AddrPortFrom(host.Control, 7443).String()
	listen := address
	if l.local {
		// A port could be taken on a machine that the lab shares, and anybody could dial it.
		address, listen = l.socket(), ""
	}
	args := append([]string{"controller", "serve", "--listen", listen,
		"--socket", filepath.Join(l.Dir(), "controller.sock"), "--data", filepath.Join(l.Dir(), "data")}, append(l.whoArgs(controllerHost), l.controllerArgs...)...)
	if err := l.launch(host, exec.Command(self, args...)); err != nil {
		return err
	}
	for _, h := range l.exp.Hosts {
		host := l.Host(l.bindings[h.Name])
		args := []string{"agent", "serve", "--controller", address, "--name", host.Name, "--address", host.Address.String(), "--state", filepath.Join(l.Dir(), "agent-"+host.Name)}
		if host.Address6.IsValid() {
			args = append(args, "--address", host.Address6.String())
		}
		for k, v := range h.Pick {
			args = append(args, "--label", k+"="+v)
		}
		args = slices.Concat(args, l.whoArgs(host.Name), l.agentArgs, l.hostArgs[host.Name])
		if err := l.launch(host, exec.Command(self, args...)); err != nil {
			return err
		}
	}
	return l.awaitSocket(ctx)
}

// launch starts a process of the lab; what it says goes to a file beside its data.
func (l *lab) launch(h *netlab.Host, cmd *exec.Cmd) error {
	f, err := os.Create(l.log(h.Name))
	if err != nil {
		return fmt.Errorf("make the log of %s: %w", h.Name, err)
	}
	defer f.Close()
	cmd.Stderr = f
	cmd.Env = labEnvironment()
	p, err := h.Start(cmd)
	if err != nil {
		return err
	}
	l.processes = append(l.processes, member{h.Name, cmd.Args[1:], p})
	return nil
}

func (l *lab) log(name string) string { return filepath.Join(l.Dir(), name+".log") }

// awaitSocket waits for the controller to serve.
func (l *lab) awaitSocket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if reach(ctx, l.socket(), identity.Socket()) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return l.silent(ctx, "controller")
		case <-l.processes[0].Done():
			return l.dead(l.processes[0])
		case <-tick.C:
		}
	}
}

// await waits for every agent to be connected, and says what they cannot see.
func (l *lab) await(ctx context.Context, cl *client) error {
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	for _, m := range l.processes {
		go func() {
			select {
			case <-m.Done():
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	stream, err := cl.agents.WatchAgents(ctx, &synclinev1.WatchAgentsRequest{})
	if err != nil {
		return answered(err)
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			for _, m := range l.processes {
				select {
				case <-m.Done():
					return l.dead(m)
				default:
				}
			}
			return l.silent(ctx, "agents")
		}
		if len(answer.Agents) == len(l.exp.Hosts) && allReady(answer.Agents) {
			l.sayMissing(answer.Agents)
			return nil
		}
	}
}

func allReady(agents []*synclinev1.Agent) bool {
	for _, g := range agents {
		if g.State != synclinev1.AgentState_AGENT_STATE_READY {
			return false
		}
	}
	return true
}

func (l *lab) sayMissing(agents []*synclinev1.Agent) {
	said := map[string]bool{}
	for _, g := range agents {
		for _, c := range g.Capabilities {
			line := fmt.Sprintf("missing: %s: %s; %s", strings.ReplaceAll(enumWord(c.Source.String(), "SOURCE_"), "_", "-"), c.Reason, c.Remedy)
			if !c.Available && !said[line] {
				said[line] = true
				fmt.Fprintln(l.app.Err, line)
			}
		}
	}
}

// dead says how a process of the lab ended, with the last of what it said.
func (l *lab) dead(m member) error {
	return &exitError{code: exitUnreachable, err: fmt.Errorf("the lab's %s ended: %v\n%s", m.name, m.Wait(), l.lastWords(m.name))}
}

func (l *lab) silent(ctx context.Context, what string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &exitError{code: exitInterrupted, err: errors.New("interrupted while the lab came up")}
	}
	var b strings.Builder
	for _, m := range l.processes {
		fmt.Fprintf(&b, "\n%s: %s", m.name, l.lastWords(m.name))
	}
	return &exitError{code: exitUnreachable, err: fmt.Errorf("the lab's %s did not come up within %v%s", what, upLimit, b.String())}
}

// lastWords are the last lines a process of the lab wrote.
func (l *lab) lastWords(name string) string {
	b, err := os.ReadFile(l.log(name))
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimSpace(b)
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return string(b)
}

// giveUp ends a lab that was to stay, and did not come to be worth it: nobody would
// know of it. Its namespaces go with its processes.
func (l *lab) giveUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), upLimit)
	defer cancel()
	var errs []error
	for _, m := range slices.Backward(l.processes) {
		errs = append(errs, m.Stop(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(l.Dir()))...)
}

// sayHowToTalk tells how to use a lab that stays, and how to end it.
func (l *lab) sayHowToTalk() {
	var pids []string
	for _, m := range l.processes {
		pids = append(pids, strconv.Itoa(m.PID()))
	}
	self := "syncline"
	if path, err := os.Executable(); err == nil {
		self = path
	}
	fmt.Fprintf(l.app.Err, `The lab is up. Talk to it:
  export SYNCLINE_CONTROLLER=%s
  %s get agents
  %[2]s run %s --repeat 20
End it:
  kill %s; rm -r %s
`, shellWord(l.socket()), shellWord(self), demoExperiment, strings.Join(pids, " "), shellWord(l.Dir()))
}
