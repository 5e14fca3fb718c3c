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
	"syncline/proto/identity"
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
	var keep keepOptions
	var metrics, advertise string
	var lease time.Duration
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve agents and operators until interrupted",
		Long: `Serve agents and operators until interrupted. Everybody who comes over TCP shows a
certificate of the cluster, and is let through to what its role may do; what is for a
controller itself is --tls-cert (syncline pki). Files that are replaced are read
again without a restart.

Who may open the file of --socket is an operator, without a certificate: it belongs to
the user that the controller runs as, and nobody else may open it.

` + devHelp,
		Example: `  syncline controller serve --listen 10.0.0.10:7443 --tls-cert /etc/syncline/tls.crt --data /var/lib/syncline
  syncline controller serve --tls-cert /etc/syncline/tls.crt --quota 20GiB --archive file:///srv/archive
  syncline controller serve --dev`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if lease < minLease || lease > maxLease {
				return &exitError{code: exitUsage, err: fmt.Errorf("--lease %v: %v to %v will do", lease, minLease, maxLease)}
			}
			log := logger(a.Err)
			cfg := controller.Config{Dir: dir, Version: Version, Log: log}
			if err := keep.into(&cfg); err != nil {
				return err
			}
			var err error
			if cfg.Identity, err = a.who.own(identity.Controller, log); err != nil {
				return err
			}
			cfg.Dev = cfg.Identity == nil
			cfg.Advertise, cfg.Lease = advertise, lease
			listeners, err := listenOn(listen, socket, cfg.Dev)
			if err != nil {
				return err
			}
			all := listeners
			if advertise != "" {
				if listen == "" {
					return errors.Join(usage("--advertise is the address of the port that --listen opens: give --listen HOST:PORT"), closeAll(all))
				}
				cfg.Listener, listeners = listeners[0], listeners[1:]
			}
			ctl, err := controller.Open(cfg)
			if err != nil {
				err = errors.Join(err, closeAll(all))
				if errors.Is(err, os.ErrPermission) {
					err = fmt.Errorf("%w\nAnother directory: --data DIR", err)
				}
				return &exitError{code: exitRefused, err: err}
			}
			for _, l := range all {
				log.Info("serving", "address", l.Addr().String(), "data", dir)
			}
			sayWho(log, cfg.Identity)
			if metrics != "" {
				stop, err := a.serveStatus(metrics, ctl.StatusHandler(), log)
				if err != nil {
					for _, l := range listeners {
						err = errors.Join(err, l.Close())
					}
					return errors.Join(err, ctl.Close())
				}
				defer stop()
			}
			if err := ctl.Serve(c.Context(), listeners...); err != nil {
				return &exitError{code: exitRefused, err: err}
			}
			return nil
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:7443", "address for agents and operators, HOST:PORT; none with --socket alone: \"\"")
	c.Flags().StringVar(&socket, "socket", "", "also serve operators on this Unix socket")
	c.Flags().StringVar(&dir, "data", defaultData(), "directory for all that the controller keeps")
	c.Flags().DurationVar(&lease, "lease", 15*time.Second, "how long agents go on with a run while they do not hear of the controller, and a run waits for an agent that was lost; after twice that an agent has closed the run's sockets and taken back what the run changed on its host")
	c.Flags().StringVar(&advertise, "advertise", "", "where the other controllers of the cluster reach this one, HOST:PORT; the directory was given to a cluster before (syncline cluster init, or join); without it this controller stands alone")
	keep.flags(c)
	c.Flags().StringVar(&metrics, "metrics", "", "also serve /metrics (Prometheus), /healthz and /readyz over plain HTTP on this address, as in 127.0.0.1:9464; it asks nobody who they are (default: off)")
	return c
}

// closeAll closes listeners that nobody will serve on.
func closeAll(listeners []net.Listener) (err error) {
	for _, l := range listeners {
		if closeErr := l.Close(); closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	return err
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

// listenOn opens what a controller serves on. Plain text (dev) it opens on this machine alone.
func listenOn(address, socket string, dev bool) (all []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range all {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	if address == "" && socket == "" {
		return nil, usage("nothing to serve on: give --listen HOST:PORT or --socket PATH")
	}
	if address != "" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, usage("listen on %s: %s.\n%s", address, plainCause(err), listenHint(err))
		}
		all = append(all, l)
		if dev {
			if err := identity.CheckDev(l.Addr()); err != nil {
				return all, usage("--listen %s: %w", address, err)
			}
		}
	}
	if socket != "" {
		u, err := listenOnSocket(socket)
		if err != nil {
			return all, err
		}
		all = append(all, u)
	}
	return all, nil
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

func (a *app) agentCommand() *cobra.Command {
	c := &cobra.Command{Use: "agent", Short: "Run an agent", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: exitUsage, err: errors.New("try: syncline agent serve --controller HOST:PORT --tls-cert FILE")}
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
		Use:   "serve",
		Short: "Take part in the lab as one of its hosts until interrupted",
		Long: `Take part in the lab as one of its hosts until interrupted. The certificate says the
host's name in the lab (syncline pki issue agent NAME). Files that are replaced are
read again without a restart. Of several controllers it stays with the one that leads.

` + devHelp,
		Example: `  syncline agent serve --controller 10.0.0.10:7443 --tls-cert /etc/syncline/tls.crt --label role=server
  syncline agent serve --controller ctl1:7443,ctl2:7443,ctl3:7443 --tls-cert /etc/syncline/tls.crt
  syncline agent serve --dev --name vm1 --address 127.0.0.2`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			set, err := parseLabels(labels)
			if err != nil {
				return err
			}
			targets, err := controllers(a.controller)
			if err != nil {
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
			cfg := agent.Config{
				RingBytes: ring, State: state, TestClock: test, Controllers: targets, Name: name, Labels: set, Addresses: addresses, Version: Version, Log: logger(a.Err),
			}
			cfg.SpoolBytes = spooled
			if err := a.identifyAgent(&cfg); err != nil {
				return err
			}
			if cfg.State == "" {
				cfg.State = filepath.Join(defaultData(), "agent-"+cfg.Name)
			}
			return a.serveAgent(c.Context(), cfg)
		},
	}
	c.Flags().StringVar(&name, "name", "", "name of this host in the lab (default: that of the certificate; with --dev the host's own)")
	c.Flags().StringVar(&state, "state", "", "directory for what must outlive the agent, what it has changed on this host and must take back, and events that the controller does not have yet (default: agent-NAME in the directory of the user's or the unit's state)")
	c.Flags().IntVar(&ring, "ring-bytes", 0, "size of each interface's capture ring, which the kernel locks in memory (default: 16777216); packets it has no room for are counted and reported as lost")
	c.Flags().Int64Var(&spooled, "spool-bytes", spool.DefaultQuota, "how much of the disk events may take that the controller does not have yet; from 80 % on no run is begun, at 95 % the one at work is ended")
	c.Flags().StringVar(&testClock, "test-clock", "", "for tests, in a local lab only: make this host's clocks wrong in a known way, as in offset=1s,ppm=100 or wander=1ppm/20s,step=1ms@10s (how far ahead, how much faster, a rate that changes as a sine does, CLOCK_REALTIME set that long after the start; each may be left out, and step repeated)")
	c.Flags().StringArrayVar(&labels, "label", nil, "KEY=VALUE by which experiments pick this host; may be repeated")
	c.Flags().StringArrayVar(&addresses, "address", nil, "address that experiments mean by this host (default: those of its interfaces); may be repeated")
	return c
}

// identifyAgent gives an agent its certificate and its name.
func (a *app) identifyAgent(cfg *agent.Config) (err error) {
	if cfg.Identity, err = a.who.own(identity.Agent, cfg.Log); err != nil {
		return err
	}
	if cfg.Dev = cfg.Identity == nil; !cfg.Dev {
		for _, target := range cfg.Controllers {
			if strings.HasPrefix(target, "unix:") {
				return usage("controller address %q: a Unix socket is for operators; agents come over TCP, or with --dev", target)
			}
		}
		if cfg.Name == "" {
			cfg.Name = cfg.Identity.Identity().Name
		}
	} else if cfg.Name == "" {
		if cfg.Name, err = os.Hostname(); err != nil {
			return usage("this host's name: %w; give the agent one with --name", err)
		}
	}
	sayWho(cfg.Log, cfg.Identity)
	return nil
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
