package controller

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/experiment"
	synclinev1 "syncline/proto/syncline/v1"
)

// probed starts a run of one repetition whose clocks are probed as asked.
func (c *testController) probed(request string, q *synclinev1.Probing) (*synclinev1.Run, error) {
	c.t.Helper()
	source, _ := experiment.Open(scenario)
	created, err := c.runs.CreateRun(c.t.Context(), &synclinev1.CreateRunRequest{
		RequestId: request, FileName: scenario, Source: source, Repetitions: 1, Probing: q,
	})
	return created.GetRun(), err
}

// wantWarnings fails unless a run was sealed as whole and has just one warning for each
// text, with that text in it.
func (c *testController) wantWarnings(run *synclinev1.Run, texts ...string) {
	c.t.Helper()
	if run.State != synclinev1.RunState_RUN_STATE_SEALED || len(run.Incomplete) > 0 {
		c.t.Errorf("the run is %v: %q, incomplete %q", run.State, run.Reason, run.Incomplete)
	}
	ok := len(run.Warnings) == len(texts)
	for _, text := range texts {
		ok = ok && slices.ContainsFunc(run.Warnings, func(w string) bool { return strings.Contains(w, text) })
	}
	if !ok {
		c.t.Errorf("the warnings are %q, want %q", run.Warnings, texts)
	}
}

// Both hosts of a run are told of each other before the captures are opened, and to stop
// before their streams are cut; one asks, and the secret is theirs alone.
func TestRunProbesItsClocks(t *testing.T) {
	c := newTestController(t)
	began := make(chan *synclinev1.StartProbes, 2)
	var agents []*fakeAgent
	c.pair(func(client, server *fakeAgent) {
		agents = []*fakeAgent{client, server}
		for _, f := range agents {
			f.probes()
			f.began = func(m *synclinev1.StartProbes) { began <- m; f.meet(m) }
		}
	})
	created, err := c.probed("q", nil)
	if err != nil {
		t.Fatal(err)
	}
	run := c.follow(created.Id)
	c.wantWarnings(run)
	if run.Probing.GetRate() != defaultProbeRate || run.Probing.GetOff() {
		t.Errorf("the run was probed as %v", run.Probing)
	}
	a, b := <-began, <-began
	if len(a.Secret) != probeSecretSize || !bytes.Equal(a.Secret, b.Secret) || bytes.Equal(a.Secret, make([]byte, probeSecretSize)) {
		t.Errorf("the secrets are %x and %x", a.Secret, b.Secret)
	}
	for _, two := range [][2]*synclinev1.StartProbes{{a, b}, {b, a}} {
		own, other := two[0], two[1]
		if own.Session != run.Id || own.Rate != defaultProbeRate || len(own.Peers) != 1 || own.Peers[0].Host != other.Host {
			t.Fatalf("host %s was told %v", own.Host, own)
		}
		at := map[string]string{"A": "10.0.0.1:7000", "B": "10.0.0.2:7000"}[other.Host]
		if e := own.Peers[0].Endpoints; len(e) != 1 || e[0].Address != at || own.Peers[0].Ask == other.Peers[0].Ask {
			t.Errorf("host %s was told of %v", own.Host, own.Peers)
		}
	}
	want := []string{"Prepare", "OpenProbes", "StartProbes", "Arm", "Start", "Settle", "Drain", "StopProbes", "Finish"}
	for _, f := range agents {
		got := slices.DeleteFunc(f.wasTold(), func(m string) bool { return !slices.Contains(want, m) })
		if !slices.Equal(got, want) {
			t.Errorf("agent %s was told %v, want %v", f.hello.Name, got, want)
		}
	}
	c.wantSecret(a.Secret, run.Id)
}

// wantSecret fails if a key is in some file of the controller or in what it has logged, or
// if these do not even name the run.
func (c *testController) wantSecret(secret []byte, run string) {
	c.t.Helper()
	kept := map[string][]byte{"the log": []byte(c.log.String())}
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			kept[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	inFiles := false
	for name, data := range kept {
		inFiles = inFiles || name != "the log" && bytes.Contains(data, []byte(run))
		for _, form := range [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(base64.StdEncoding.EncodeToString(secret)), []byte(fmt.Sprint(secret))} {
			if bytes.Contains(data, form) {
				c.t.Errorf("the key is in %s", name)
			}
		}
	}
	if !inFiles || !bytes.Contains(kept["the log"], []byte("agent connected")) {
		c.t.Errorf("the run is in none of %d files, or nothing was logged: %s", len(kept), kept["the log"])
	}
}

// What a run lacks of probes it says, and goes on.
func TestRunGoesOnWithoutProbes(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(client, server *fakeAgent)
		ask   *synclinev1.Probing
		want  []string
	}{
		"off":       {func(_, server *fakeAgent) { server.capabilities = nil }, &synclinev1.Probing{Off: true}, nil},
		"one clock": {func(client, server *fakeAgent) { server.hello.BootId = client.hello.BootId }, nil, nil},
		"old agent": {func(_, server *fakeAgent) {
			server.capabilities = server.capabilities[:2]
			server.hello.ProtocolMin, server.hello.ProtocolMax = oldestProtocol, oldestProtocol
		}, nil, []string{"agent server: its release knows no clock probes"}},
		"cannot": {func(_, server *fakeAgent) {
			server.capabilities[2] = &synclinev1.Capability{Source: synclinev1.Source_SOURCE_PROBES, Reason: "no UDP", Remedy: "get it"}
		}, nil, []string{"agent server: it cannot: no UDP; get it"}},
		"no socket": {func(client, _ *fakeAgent) {
			client.opened = func(m *synclinev1.OpenProbes) *synclinev1.ProbesOpened {
				return &synclinev1.ProbesOpened{Session: m.Session, Error: "bind: address in use"}
			}
		}, nil, []string{"agent client: bind: address in use"}},
		"a stranger's address": {func(client, _ *fakeAgent) {
			client.opened = func(m *synclinev1.OpenProbes) *synclinev1.ProbesOpened {
				return &synclinev1.ProbesOpened{Session: m.Session, Endpoints: []*synclinev1.ProbeEndpoint{
					{Path: synclinev1.ProbePath_PROBE_PATH_EXPERIMENT, Address: "192.0.2.1:53"},
				}}
			}
		}, nil, []string{"192.0.2.1:53, which is no address of its host", "none of the addresses"}},
		"no answers": {func(client, server *fakeAgent) {
			for _, f := range []*fakeAgent{client, server} {
				f.began = func(*synclinev1.StartProbes) {}
			}
		}, nil, []string{"host B answered no clock probe of host A on the path of the experiment (UDP from 10.0.0.1:7000 to 10.0.0.2:7000)"}},
		"losses": {func(client, server *fakeAgent) {
			server.stopped = func(m *synclinev1.StopProbes) *synclinev1.ProbesStopped {
				return &synclinev1.ProbesStopped{Session: m.Session, Lost: 3, Refused: 1}
			}
		}, nil, []string{"agent server could not keep or stamp 3 sights", "1 datagram at the sockets"}},
		"not ended": {func(client, _ *fakeAgent) {
			client.stopped = func(m *synclinev1.StopProbes) *synclinev1.ProbesStopped {
				return &synclinev1.ProbesStopped{Session: m.Session, Error: "socket: gone"}
			}
		}, nil, []string{"agent client: socket: gone"}},
		"never opened": {func(client, _ *fakeAgent) {
			client.opened = func(*synclinev1.OpenProbes) *synclinev1.ProbesOpened { return nil }
		}, nil, []string{"agent client: it did not answer OpenProbes within 2s"}},
		"never stopped": {func(client, _ *fakeAgent) {
			client.stopped = func(*synclinev1.StopProbes) *synclinev1.ProbesStopped { return nil }
		}, nil, []string{"agent client: it did not answer StopProbes within 2s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc := newTestController(t)
			var agents []*fakeAgent
			tc.pair(func(client, server *fakeAgent) {
				agents = []*fakeAgent{client, server}
				client.probes()
				server.probes()
				c.spoil(client, server)
			})
			created, err := tc.probed("q", c.ask)
			if err != nil {
				t.Fatal(err)
			}
			tc.wantWarnings(tc.follow(created.Id), c.want...)
			quiet := name == "off" || name == "one clock" || name == "old agent" || name == "cannot"
			for _, f := range agents {
				if told := f.wasTold(); quiet && slices.ContainsFunc(told, func(m string) bool { return strings.Contains(m, "Probes") }) {
					t.Errorf("agent %s was told %v", f.hello.Name, told)
				}
			}
		})
	}
}

// A run that is cancelled while its clocks are probed ends as any other, and says nothing of
// exchanges that had no time.
func TestProbesEndWithTheirRun(t *testing.T) {
	for _, step := range []string{"opened", "began", "stopped"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			c := newTestController(t)
			reached := make(chan string, 1)
			var agents []*fakeAgent
			c.pair(func(client, server *fakeAgent) {
				agents = []*fakeAgent{client, server}
				for _, f := range agents {
					f.probes()
				}
				switch step {
				case "opened":
					client.opened = func(m *synclinev1.OpenProbes) *synclinev1.ProbesOpened { reached <- m.RunId; return nil }
				case "began":
					client.began = func(m *synclinev1.StartProbes) { reached <- m.Session }
					client.armed = func(*synclinev1.Arm) *synclinev1.Armed { return &synclinev1.Armed{} }
				case "stopped":
					client.stopped = func(m *synclinev1.StopProbes) *synclinev1.ProbesStopped { reached <- m.Session; return nil }
				}
			})
			created, err := c.probed("q", nil)
			if err != nil {
				t.Fatal(err)
			}
			if at := <-reached; at != created.Id {
				t.Errorf("the session is of %s, the run is %s", at, created.Id)
			}
			if _, err := c.runs.CancelRun(t.Context(), &synclinev1.CancelRunRequest{Id: created.Id}); err != nil {
				t.Fatal(err)
			}
			run := c.follow(created.Id)
			if run.State != synclinev1.RunState_RUN_STATE_CANCELLED || !slices.Contains(agents[0].wasTold(), "Cancel") {
				t.Errorf("the run is %v: %s; the agent was told %v", run.State, run.Reason, agents[0].wasTold())
			}
			if slices.ContainsFunc(run.Warnings, func(w string) bool { return strings.Contains(w, "answered no") }) {
				t.Errorf("the warnings are %q", run.Warnings)
			}
		})
	}
}

// Sessions out of reason are refused before anything begins.
func TestProbingWanted(t *testing.T) {
	c := newTestController(t)
	c.pair(func(client, server *fakeAgent) {})
	for _, q := range []*synclinev1.Probing{{Rate: 101}, {Off: true, Rate: 1}, {Off: true, AllPairs: true}} {
		if _, err := c.probed("q", q); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v, want InvalidArgument", q, err)
		}
	}
	for _, c := range []struct {
		q     *synclinev1.Probing
		hosts int
		rate  int
		fails string
	}{
		{nil, 2, 10, ""},
		{nil, 1, 10, ""},
		{&synclinev1.Probing{Rate: 100}, 21, 100, ""},
		{&synclinev1.Probing{Rate: 100}, 22, 0, "a rate of 95 or less"},
		{nil, 256, 7, ""},
		{&synclinev1.Probing{AllPairs: true}, 32, 10, ""},
		{&synclinev1.Probing{AllPairs: true}, 33, 0, "all pairs of 33 hosts are 528"},
	} {
		got, err := probingWanted(c.q, c.hosts)
		if c.fails == "" && (err != nil || got.Rate != c.rate) || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%v with %d hosts: %v, %v", c.q, c.hosts, got, err)
		}
	}
}
