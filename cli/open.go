package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline/controller/web"
	synclinev1 "syncline/proto/syncline/v1"
)

// openOptions say how a page is served.
type openOptions struct {
	port    uint16
	browser bool
}

func (a *app) openCommand() *cobra.Command {
	var opts openOptions
	c := &cobra.Command{
		Use:   "open RUN|FILE",
		Short: "Say what a run or a bundle holds, and show it in a browser",
		Long: `Say what a run or a bundle holds, and serve its page on 127.0.0.1 until interrupted:
the ladder of every repetition, events, clocks, statistics. It is the page that
syncline report writes to a file.

The address has a part that nobody can guess, since everyone on this machine can
reach the port. No browser is started unless --browser says so.

A bundle is read as a whole first: one with a hash or a seal that is not right is
not shown.`,
		Example: `  syncline open refused.syncline
  syncline open r-7f3c2a10 --browser
  syncline open r-7f3c2a10@17 --port 8000`,
		Args: oneArgument("RUN or FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.look(c.Context(), args[0], func(s *subject) error {
				return a.openSubject(c.Context(), s, opts)
			})
		},
	}
	c.Flags().Uint16Var(&opts.port, "port", 0, "the port on 127.0.0.1 (default: any that is free)")
	c.Flags().BoolVar(&opts.browser, "browser", false, "start a browser")
	return c
}

// openSubject says what there is, then serves its page until ctx is done.
func (a *app) openSubject(ctx context.Context, s *subject, opts openOptions) error {
	answer, err := s.runs.GetRun(ctx, &synclinev1.GetRunRequest{Id: s.id})
	if err != nil {
		return answered(err)
	}
	sheet := newSheet(a.Out)
	openSheet(sheet, s, answer.Run)
	if err := sheet.to(a.Out); err != nil {
		return err
	}
	p, err := a.page(ctx, []*subject{s}, shellCommand("syncline", "open", s.name))
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := web.Write(&page, p); err != nil {
		return err
	}
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(opts.port))))
	if err != nil {
		return &exitError{code: exitRefused, err: fmt.Errorf("serve the page: %w\nAnother port: --port N; any that is free: leave it out", err)}
	}
	served := newPageServer(l.Addr().String(), page.Bytes())
	if _, err := fmt.Fprintln(a.Out, served.url()); err != nil {
		return errors.Join(err, l.Close())
	}
	fmt.Fprintln(a.Err, "the page is there until you interrupt this (Ctrl-C)")
	if opts.browser {
		defer a.besideBrowser(ctx, served.url())()
	}
	return served.serve(ctx, l)
}

// openSheet writes what a run holds, and its bundle.
func openSheet(s *sheet, of *subject, r *synclinev1.Run) {
	const at = 14
	s.line("%s  %s  %s", strings.Join(nonEmpty(bundleName(of), "run "+r.Id), "  "), r.Experiment, enumWord(r.State.String(), "RUN_STATE_"))
	if r.Reason != "" {
		s.item("  reason", at, r.Reason)
	}
	s.item("  repetitions", at, fmt.Sprintf("%d of %d", r.RepetitionsDone, r.Repetitions))
	s.item("  began", at, moment(r.CreatedNs))
	var hosts []string
	for _, h := range r.Hosts {
		hosts = append(hosts, fmt.Sprintf("%s (%s, %s)", h.Name, h.Agent, h.Address))
	}
	s.item("  hosts", at, strings.Join(hosts, ", "))
	s.item("  holds", at, fmt.Sprintf("%s in %s", howMany(int(r.Events), "event"), howMany(int(r.Chunks), "chunk")))
	for i, what := range r.Incomplete {
		s.item(titled(i, "  missing"), at, what)
	}
	if of.archive == nil {
		return
	}
	m := of.archive.Manifest()
	s.item("  file", at, fmt.Sprintf("%s, format %d, written by %s; every hash is right, and so is the run's seal", byteText(of.size), m.Format, m.WrittenBy))
}

// bundleName is the path of a bundle, "" for a run of the controller.
func bundleName(s *subject) string {
	if s.archive == nil {
		return ""
	}
	return s.name
}

// besideBrowser starts a browser and does not wait for it: what opens an address may last
// as long as the browser, which asks for the page meanwhile. What asks before the page is
// served waits in the listener's queue. The function that it returns ends the command, and
// is there once it has ended.
func (a *app) besideBrowser(ctx context.Context, url string) (end func()) {
	ctx, stop := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		a.startBrowser(ctx, url)
	}()
	return func() {
		stop()
		// A browser that the command has left behind may hold its standard output open.
		select {
		case <-over:
		case <-time.After(time.Second):
		}
	}
}

// startBrowser asks the desktop for a browser. That there is none is no reason not to
// serve.
func (a *app) startBrowser(ctx context.Context, url string) {
	command := browserCommand(runtime.GOOS)
	if out, err := exec.CommandContext(ctx, command[0], append(command[1:], url)...).CombinedOutput(); err != nil && ctx.Err() == nil {
		fmt.Fprintln(a.Err, strings.TrimSpace(fmt.Sprintf("--browser: %s: %v %s", command[0], err, bytes.TrimSpace(out))))
	}
}

// browserCommand is what opens an address in the user's browser, and returns at once.
func browserCommand(system string) []string {
	switch system {
	case "darwin":
		return []string{"open"}
	case "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	return []string{"xdg-open"}
}

// pageServer serves one page at one address to whoever knows it.
type pageServer struct {
	// hosts are what a request may call this server, its address first: a page of a stranger's that has its
	// name point to 127.0.0.1 calls it otherwise.
	hosts []string
	path  string
	page  []byte
	made  time.Time
}

// newPageServer makes up the path of a page that is served at address.
func newPageServer(address string, page []byte) *pageServer {
	_, port, _ := net.SplitHostPort(address)
	hosts := []string{address, net.JoinHostPort("localhost", port)}
	if port == "80" {
		// The port of its scheme is left out of a Host (RFC 9110, section 4.2.3).
		hosts = append(hosts, strings.TrimSuffix(address, ":80"), "localhost")
	}
	return &pageServer{hosts: hosts, path: "/" + rand.Text() + "/", page: page, made: time.Now()}
}

func (p *pageServer) url() string { return "http://" + p.hosts[0] + p.path }

// ServeHTTP implements http.Handler.
func (p *pageServer) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	switch {
	case !slices.Contains(p.hosts, q.Host):
		http.Error(w, "this is not the server of "+q.Host, http.StatusMisdirectedRequest)
	case q.URL.Path != p.path:
		http.Error(w, "the page is at the address that syncline open printed", http.StatusNotFound)
	case q.Method != http.MethodGet && q.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the page can only be read", http.StatusMethodNotAllowed)
	default:
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		// The page has a policy of its own; a meta element cannot say this part of it.
		h.Set("Content-Security-Policy", "frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		http.ServeContent(w, q, "", p.made, bytes.NewReader(p.page))
	}
}

// serve answers on l, which it closes, until ctx is done. Whoever is receiving the page
// then has a second to get the rest.
func (p *pageServer) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	over := make(chan error, 1)
	go func() { over <- server.Serve(l) }()
	select {
	case err := <-over:
		return &exitError{code: exitRefused, err: fmt.Errorf("serve the page on %s: %w", l.Addr(), err)}
	case <-ctx.Done():
	}
	rest, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer stop()
	if err := server.Shutdown(rest); err != nil {
		server.Close()
	}
	<-over
	return nil
}
