package controller

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

func environmentOf(section, name, value string) *synclinev1.Environment {
	return &synclinev1.Environment{Sections: []*synclinev1.Environment_Section{{
		Name: section, Settings: []*synclinev1.Environment_Setting{{Name: name, Value: value}},
	}}}
}

func TestEnvironmentsSurviveTheStore(t *testing.T) {
	want := environmentOf("sysctl", "net.ipv4.tcp_fin_timeout", "60")
	kept, err := environmentToStore("A", want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, environmentFromStore(kept), protocmp.Transform()); diff != "" {
		t.Errorf("(-told +read):\n%s", diff)
	}
}

// An agent can say more than the store takes, and a disk can hold other bytes than
// were written. Both are said, and neither ends a run.
func TestEnvironmentsThatCannotBeKept(t *testing.T) {
	big := environmentOf("sysctl", "x", strings.Repeat("x", maxEnvironment))
	kept, err := environmentToStore("A", big)
	if err != nil {
		t.Fatal(err)
	}
	if got := environmentFromStore(kept).Sections[0].Settings[0]; !strings.Contains(got.Failure, "at most 64512 are kept") || got.Value != "" {
		t.Errorf("too big: %v", got)
	}
	raw, err := proto.Marshal(big)
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{nil, []byte("no zstd"), environmentCodec().in.EncodeAll([]byte("no message"), nil), environmentCodec().in.EncodeAll(append(raw, raw...), nil)} {
		got := environmentFromStore(store.Environment{Host: "A", Data: data})
		if len(data) == 0 && len(got.Sections) == 0 {
			continue // Nothing was said, and that is what was kept.
		}
		if len(got.Sections) != 1 || !strings.Contains(got.Sections[0].Settings[0].Failure, "what is stored of host A cannot be read") {
			t.Errorf("%.10q…: %v", data, got)
		}
	}
}

func FuzzEnvironmentFromStore(f *testing.F) {
	kept, err := environmentToStore("A", environmentOf("cpu", "model", "2 × x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kept.Data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > store.MaxEnvironmentBytes {
			return
		}
		if got := environmentFromStore(store.Environment{Host: "A", Data: data}); proto.Size(got) > 2*maxEnvironment+1<<10 {
			t.Errorf("%d bytes became %d", len(data), proto.Size(got))
		}
	})
}

// What the agents said is kept with the run, and only who asks for that run gets it.
func TestRunsKeepTheirEnvironment(t *testing.T) {
	c := newTestController(t)
	told := environmentOf("kernel", "release", "6.18.0")
	c.pair(func(client, server *fakeAgent) { client.environment = told })
	id := c.create("request", "basic-open-close").Id
	c.follow(id)
	answer, err := c.runs.GetRun(t.Context(), &synclinev1.GetRunRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	run := answer.Run
	if got := run.Hosts[0].Environment; !proto.Equal(got, told) {
		t.Errorf("host %s: %v, want what its agent told", run.Hosts[0].Name, got)
	}
	if got := run.Hosts[1].Environment; got != nil {
		t.Errorf("host %s, which told nothing: %v", run.Hosts[1].Name, got)
	}
	list, err := c.runs.ListRuns(t.Context(), &synclinev1.ListRunsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if list.Runs[0].Hosts[0].Environment != nil {
		t.Error("a list of runs carries what every host of every run was like")
	}
}
