package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/export"
	synclinev1 "syncline/proto/syncline/v1"
)

// bundled is the path of a recorded run of the library.
func bundled(name string) string {
	return filepath.Join("..", "controller", "export", "testdata", "library", name+export.BundleSuffix)
}

// The page is served to whoever has its address and calls the server by it, until the
// command is interrupted; that is no failure.
func TestOpenServesThePage(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, printed := io.Pipe()
	var said bytes.Buffer
	over := make(chan int, 1)
	go func() {
		over <- Main(ctx, []string{"open", bundled("connect-refused")}, Streams{Out: printed, Err: &said})
		printed.Close()
	}()
	var address, sheet string
	lines := bufio.NewScanner(out)
	for address == "" && lines.Scan() {
		if text := lines.Text(); strings.HasPrefix(text, "http://") {
			address = text
		} else {
			sheet += text + "\n"
		}
	}
	if address == "" {
		t.Fatalf("no address: exit %d\n%s%s", <-over, sheet, &said)
	}
	for _, want := range []string{"connect-refused", "2 of 2", "A (vm1, 10.77.0.1)", "every hash", "format 1, written by syncline"} {
		if !strings.Contains(sheet, want) {
			t.Errorf("nothing of %q in\n%s", want, sheet)
		}
	}
	port := address[:strings.LastIndex(strings.TrimSuffix(address, "/"), "/")]
	for _, test := range []struct {
		method, url, host string
		status            int
		says              string
	}{
		{"GET", address, "", http.StatusOK, "<!doctype html>"},
		{"GET", strings.Replace(address, "127.0.0.1", "localhost", 1), "", http.StatusOK, "connect-refused"},
		{"HEAD", address, "", http.StatusOK, ""},
		{"POST", address, "", http.StatusMethodNotAllowed, "read"},
		{"GET", port + "/", "", http.StatusNotFound, "address"},
		{"GET", address + "x", "", http.StatusNotFound, "address"},
		{"GET", address, "lab.example", http.StatusMisdirectedRequest, "lab.example"},
	} {
		q, err := http.NewRequestWithContext(t.Context(), test.method, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Host, q.Close = test.host, true
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != test.status || !strings.Contains(strings.ToLower(string(body)), test.says) {
			t.Errorf("%s %s as %q: %s, %.200q, %v; want %d with %q", test.method, test.url, test.host, answer.Status, body, err, test.status, test.says)
		}
		if test.status == http.StatusOK && (answer.Header.Get("X-Content-Type-Options") != "nosniff" || answer.Header.Get("Content-Security-Policy") == "") {
			t.Errorf("headers %v", answer.Header)
		}
	}
	interrupt()
	if code := <-over; code != 0 {
		t.Errorf("interrupted it exits with %d: %s", code, &said)
	}
}

// The Host of a request to port 80 has no port, and on every other port it has one.
func TestHostsOfPages(t *testing.T) {
	for _, test := range []struct {
		address, host string
		status        int
	}{
		{"127.0.0.1:80", "127.0.0.1", http.StatusOK},
		{"127.0.0.1:80", "localhost", http.StatusOK},
		{"127.0.0.1:80", "127.0.0.1:80", http.StatusOK},
		{"127.0.0.1:80", "lab.example", http.StatusMisdirectedRequest},
		{"127.0.0.1:80", "", http.StatusMisdirectedRequest},
		{"127.0.0.1:8080", "localhost:8080", http.StatusOK},
		{"127.0.0.1:8080", "127.0.0.1", http.StatusMisdirectedRequest},
		{"127.0.0.1:8080", "localhost", http.StatusMisdirectedRequest},
	} {
		p := newPageServer(test.address, []byte("<!doctype html>"))
		q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, p.url(), nil)
		q.Host = test.host
		w := httptest.NewRecorder()
		p.ServeHTTP(w, q)
		if w.Code != test.status {
			t.Errorf("at %s, called %q: %d, want %d", test.address, test.host, w.Code, test.status)
		}
	}
}

// TestBrowserBeside: the page is there while the command that opens it still lasts, and
// that command is ended with syncline.
func TestBrowserBeside(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what opens an address elsewhere is no script in PATH")
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\nexec sleep 600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, printed := io.Pipe()
	var said bytes.Buffer
	over := make(chan int, 1)
	go func() {
		over <- Main(ctx, []string{"open", "--browser", bundled("connect-refused")}, Streams{Out: printed, Err: &said})
		printed.Close()
	}()
	got := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if address := lines.Text(); strings.HasPrefix(address, "http://") {
			client := http.Client{Timeout: 30 * time.Second}
			answer, err := client.Get(address)
			if err != nil {
				t.Error(err)
			} else {
				got = answer.StatusCode
				answer.Body.Close()
			}
			client.CloseIdleConnections()
			interrupt()
		}
	}
	if code := <-over; code != 0 || got != http.StatusOK || strings.Contains(said.String(), "--browser") {
		t.Errorf("the page came with status %d, and syncline left with %d: %s", got, code, &said)
	}
}

// A file has its name when it is whole, and nothing stays of one that is not.
func TestNewFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "run.syncline")
	hello := func(f *os.File) error {
		if _, err := os.Stat(name); err == nil && strings.HasSuffix(f.Name(), "first") {
			t.Error("the file is there before it is whole")
		}
		_, err := f.WriteString("hello")
		return err
	}
	if size, err := newFile(name, false, hello); err != nil || size != 5 {
		t.Fatalf("%d, %v", size, err)
	}
	if _, err := newFile(name, false, func(*os.File) error { t.Error("written beside one that is there"); return nil }); err == nil {
		t.Error("it took the place of another file")
	}
	if _, err := newFile(name, true, func(f *os.File) error { _, err := f.WriteString("other"); return err }); err != nil {
		t.Error(err)
	}
	for _, force := range []bool{false, true} {
		other := filepath.Join(dir, "broken")
		if _, err := newFile(other, force, func(f *os.File) error {
			f.WriteString("half")
			return io.ErrUnexpectedEOF
		}); err == nil {
			t.Error("an error of the writer is lost")
		}
	}
	// What is no regular file is nobody's to replace: rename(2) would.
	socket := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, special := range []string{socket, os.DevNull} {
		before, err := os.Lstat(special)
		if err != nil {
			t.Fatal(err)
		}
		// /dev/null is only looked at: where it is replaced there is no other.
		if err := replaceable(special, before); err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s may be replaced: %v", special, err)
		}
	}
	if _, err := newFile(socket, true, func(*os.File) error { t.Error("written beside a socket"); return nil }); err == nil {
		t.Error("it took the place of a socket")
	}
	if info, err := os.Lstat(socket); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the socket is %v, %v", info, err)
	}
	// One that came to be while ours was written is not replaced.
	late := filepath.Join(dir, "late")
	if _, err := newFile(late, false, func(*os.File) error { return os.WriteFile(late, []byte("theirs"), 0o600) }); err == nil {
		t.Error("a file that came to be meanwhile was replaced")
	}
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(all) != 2 || len(hidden) != 0 {
		t.Errorf("there are %v and %v, %v", all, hidden, err)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "other" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if text, err := os.ReadFile(late); err != nil || string(text) != "theirs" {
		t.Errorf("the late file has %q, %v", text, err)
	}
}

func TestRunRef(t *testing.T) {
	for _, test := range []struct {
		arg, name  string
		repetition uint32
		bundle     bool
		wrong      bool
	}{
		{arg: "r-7f3c2a10", name: "r-7f3c2a10"},
		{arg: "r-7f3c2a10@17", name: "r-7f3c2a10", repetition: 17},
		{arg: "f.syncline", name: "f.syncline", bundle: true},
		{arg: "f.syncline@3", name: "f.syncline", repetition: 3, bundle: true},
		{arg: "dir/f@3", name: "dir/f", repetition: 3, bundle: true},
		{arg: "me@host.d/f.syncline@3", name: "me@host.d/f.syncline", repetition: 3, bundle: true},
		{arg: "dir@x/none.syncline", name: "dir@x/none.syncline", bundle: true},
		{arg: "dir@x/none.syncline@2", name: "dir@x/none.syncline", repetition: 2, bundle: true},
		{arg: "f@home.syncline", name: "f@home.syncline", bundle: true},
		{arg: "r-7f3c2a10@", wrong: true},
		{arg: "r-7f3c2a10@0", wrong: true},
		{arg: "f.syncline@-1", wrong: true},
		{arg: "f.syncline@4294967296", wrong: true},
	} {
		name, repetition, err := runRef(test.arg)
		if (err != nil) != test.wrong || err == nil && (name != test.name || repetition != test.repetition || isBundle(name) != test.bundle) {
			t.Errorf("%s: %q, %d, bundle %v, %v", test.arg, name, repetition, isBundle(name), err)
		}
	}
}

// What is wrong with a path that has an @ and no file is that there is no file.
func TestPathsOfNoFile(t *testing.T) {
	name := filepath.Join(t.TempDir()+"@x", "none.syncline")
	_, err := (&app{}).subject(t.Context(), name)
	if err == nil || !strings.Contains(err.Error(), name+": no such file or directory") {
		t.Errorf("%v", err)
	}
}

// A bundle refuses what takes a controller, and says so.
func TestBundlesOnlyLook(t *testing.T) {
	s, err := (&app{}).subject(t.Context(), bundled("connect-refused"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	_, agents := s.agents.ListAgents(t.Context(), &synclinev1.ListAgentsRequest{})
	_, probed := s.timelines.ProbeClocks(t.Context(), &synclinev1.ProbeClocksRequest{})
	_, made := s.runs.CreateRun(t.Context(), &synclinev1.CreateRunRequest{})
	watched, err := s.agents.WatchAgents(t.Context(), &synclinev1.WatchAgentsRequest{})
	if err == nil {
		_, err = watched.Recv()
	}
	for what, err := range map[string]error{"ListAgents": agents, "ProbeClocks": probed, "CreateRun": made, "WatchAgents": err} {
		if text := status.Convert(err).Message(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(text, "is a bundle") || !strings.Contains(text, what+" needs a controller") {
			t.Errorf("%s: %v", what, err)
		}
	}
	list, err := s.runs.ListRuns(t.Context(), &synclinev1.ListRunsRequest{})
	if err != nil || len(list.Runs) != 1 || list.Runs[0].Id != s.id {
		t.Errorf("its runs: %v, %v", list, err)
	}
	if run, err := (&app{Streams: Streams{Err: io.Discard}}).follow(t.Context(), s.client, s.id); err != nil || run.GetId() != s.id {
		t.Errorf("followed, it is %v, %v", run, err)
	}
}

// A browser that cannot be had is told of, and is no reason not to serve.
func TestStartBrowser(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what opens an address elsewhere is no script in PATH")
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	script, opened := filepath.Join(dir, "xdg-open"), filepath.Join(dir, "opened")
	for _, test := range []struct{ script, says string }{
		{"#!/bin/sh\necho \"$1\" > " + opened + "\n", ""},
		{"#!/bin/sh\necho no display >&2\nexit 3\n", "--browser: xdg-open: exit status 3 no display\n"},
	} {
		if err := os.WriteFile(script, []byte(test.script), 0o755); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		(&app{Streams: Streams{Err: &said}}).startBrowser(t.Context(), "http://127.0.0.1:1/x/")
		if said.String() != test.says {
			t.Errorf("it said %q, want %q", &said, test.says)
		}
	}
	if text, err := os.ReadFile(opened); err != nil || string(text) != "http://127.0.0.1:1/x/\n" {
		t.Errorf("opened %q, %v", text, err)
	}
}
