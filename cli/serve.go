package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"syncline/agent"
	"syncline/agent/clock"
	"syncline/agent/spool"
	"syncline/controller"
)

func (a *app) controllerCommand() *cobra.Command {
	c := &cobra.Command{Use: "controller", Short: "Run a controller", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: exitUsage, err: errors.New("try: syncline controller serve")}
		}}
	c.AddCommand(a.controllerServeCommand())
	return c
}

func (a *app) controllerServeCommand() *cobra.Command {
	var listen, dir, socket string
	var lease time.Duration
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve agents and operators until interrupted",
		Example: `  syncline controller serve
  syncline controller serve --listen 10.0.0.10:7443 --data /var/lib/syncline`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if lease < minLease || lease > maxLease {
				return &exitError{code: exitUsage, err: fmt.Errorf("--lease %v: %v to %v will do", lease, minLease, maxLease)}
			}
			log := logger(a.Err)
			listeners, err := a.listen(listen, socket)
			if err != nil {
				return err
			}
			ctl, err := controller.Open(controller.Config{Dir: dir, Version: Version, Lease: lease, Log: log})
			if err != nil {
				for _, l := range listeners {
					err = errors.Join(err, l.Close())
				}
				if errors.Is(err, os.ErrPermission) {
					err = fmt.Errorf("%w\nAnother directory: --data DIR", err)
				}
				return &exitError{code: exitRefused, err: err}
			}
			for _, l := range listeners {
				log.Info("serving", "address", l.Addr().String(), "data", dir)
			}
			if err := ctl.Serve(c.Context(), listeners...); err != nil {
				return &exitError{code: exitRefused, err: err}
			}
			return nil
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:7443", "address for agents and operators, HOST:PORT")
	c.Flags().StringVar(&socket, "socket", "", "also serve operators on this Unix socket")
	c.Flags().StringVar(&dir, "data", defaultData(), "directory for all that the controller keeps")
	c.Flags().DurationVar(&lease, "lease", 15*time.Second, "how long agents go on with a run while they do not hear of the controller, and a run waits for an agent that was lost; after twice that an agent has closed the run's sockets and taken back what the run changed on its host")
	return c
}

// Bounds of a lease: shorter than a busy machine may stop for a moment, or so long that nobody
// would wait for it.
const (
	minLease = time.Second
	maxLease = 10 * time.Minute
)

// defaultData is the state directory of systemd's unit, else the user's own.
func defaultData() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "syncline")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "syncline")
	}
	return "syncline-data"
}

func (a *app) listen(address, socket string) ([]net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: fmt.Errorf("listen on %s: %s.\n%s", address, plainCause(err), listenHint(err))}
	}
	if !loopback(l.Addr()) {
		fmt.Fprintf(a.Err, "syncline: warning: whoever reaches %s can open sockets on every agent: nothing here is encrypted or authenticated yet. Use a network you trust.\n", l.Addr())
	}
	if socket == "" {
		return []net.Listener{l}, nil
	}
	u, err := net.Listen("unix", socket)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: errors.Join(fmt.Errorf("listen on socket %s: %s", socket, plainCause(err)), l.Close())}
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("keep socket %s to its owner: %w", socket, err), u.Close(), l.Close())
	}
	return []net.Listener{l, u}, nil
}

func listenHint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "Is another controller running there? Another address: --listen HOST:PORT"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "This host has no such address; all of its own: --listen 0.0.0.0:7443"
	case errors.Is(err, syscall.EACCES):
		return "Ports below 1024 need CAP_NET_BIND_SERVICE; another one: --listen HOST:PORT"
	}
	return "Write --listen HOST:PORT, as in --listen 10.0.0.10:7443"
}

func loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

func (a *app) agentCommand() *cobra.Command {
	c := &cobra.Command{Use: "agent", Short: "Run an agent", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: exitUsage, err: errors.New("try: syncline agent serve --controller HOST:PORT --name NAME")}
		}}
	c.AddCommand(a.agentServeCommand())
	return c
}

func (a *app) agentServeCommand() *cobra.Command {
	var name, state, testClock string
	var ring int
	var spooled int64
	var labels, addresses []string
	c := &cobra.Command{
		Use:     "serve",
		Short:   "Take part in the lab as one of its hosts until interrupted",
		Example: `  syncline agent serve --controller 10.0.0.10:7443 --name vm1 --label role=server`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			set, err := parseLabels(labels)
			if err != nil {
				return err
			}
			if err := checkTarget(a.controller); err != nil {
				return err
			}
			for _, address := range addresses {
				if _, err := netip.ParseAddr(address); err != nil {
					return &exitError{code: exitUsage, err: fmt.Errorf("--address %s: %w", address, err)}
				}
			}
			var test *clock.Test
			if c.Flags().Changed("test-clock") {
				if test, err = clock.ParseTest(testClock); err != nil {
					return &exitError{code: exitUsage, err: fmt.Errorf("--test-clock: %w", err)}
				}
			}
			if state == "" {
				state = filepath.Join(defaultData(), "agent-"+name)
			}
			return a.serveAgent(c.Context(), agent.Config{
				RingBytes: ring, SpoolBytes: spooled, State: state, TestClock: test, Controller: a.controller, Name: name, Labels: set, Addresses: addresses, Version: Version, Log: logger(a.Err),
			})
		},
	}
	host, _ := os.Hostname()
	c.Flags().StringVar(&name, "name", host, "name of this host in the lab")
	c.Flags().StringVar(&state, "state", "", "directory for what must outlive the agent: what it has changed on this host and must take back, and events that the controller does not have yet (default: agent-NAME in the directory of the user's or the unit's state)")
	c.Flags().IntVar(&ring, "ring-bytes", 0, "size of each interface's capture ring, which the kernel locks in memory (default: 16777216); packets it has no room for are counted and reported as lost")
	c.Flags().Int64Var(&spooled, "spool-bytes", spool.DefaultQuota, "how much of the disk events may take that the controller does not have yet; from 80 % on no run is begun, at 95 % the one at work is ended")
	c.Flags().StringVar(&testClock, "test-clock", "", "for tests, in a local lab only: make this host's clocks wrong in a known way, as in offset=1s,ppm=100,wander=1ppm/20s,step=1ms@10s (how far ahead, how much faster, a rate that changes as a sine does, CLOCK_REALTIME set that long after the start; each may be left out, and step repeated)")
	c.Flags().StringArrayVar(&labels, "label", nil, "KEY=VALUE by which experiments pick this host; may be repeated")
	c.Flags().StringArrayVar(&addresses, "address", nil, "address that experiments mean by this host (default: those of its interfaces); may be repeated")
	return c
}

func (a *app) serveAgent(ctx context.Context, cfg agent.Config) error {
	g, err := agent.New(cfg)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	if err := g.Run(ctx); err != nil {
		return &exitError{code: exitRefused, err: err}
	}
	return nil
}

func parseLabels(all []string) (map[string]string, error) {
	set := map[string]string{}
	for _, l := range all {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" || v == "" {
			return nil, &exitError{code: exitUsage, err: fmt.Errorf("--label %s: write KEY=VALUE, as in role=server", l)}
		}
		set[k] = v
	}
	return set, nil
}

// logger writes text to a terminal and JSON elsewhere, where a journal reads it.
func logger(w io.Writer) *slog.Logger {
	if is, _ := terminal(w); is {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}
