package identity

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// received is the context of a call from a peer with metadata, as a gRPC server sees it.
func received(from Caller, pairs ...string) context.Context {
	ctx := peer.NewContext(context.Background(), &peer.Peer{Addr: &net.TCPAddr{}, AuthInfo: infoOf(from)})
	return metadata.NewIncomingContext(ctx, metadata.Pairs(pairs...))
}

// across is the context at the other end of a call.
func across(t *testing.T, ctx context.Context, via Caller) context.Context {
	t.Helper()
	md, _ := metadata.FromOutgoingContext(ctx)
	var pairs []string
	for k, values := range md {
		for _, v := range values {
			pairs = append(pairs, k, v)
		}
	}
	return received(via, pairs...)
}

var (
	alice = Caller{Identity: Identity{Cluster: "lab-1", Role: Operator, Name: "alice"}}
	ctl1  = Caller{Identity: Identity{Cluster: "lab-1", Role: Controller, Name: "ctl1"}}
)

func TestForward(t *testing.T) {
	for _, c := range []struct {
		caller, via Caller
		want        string
	}{
		{alice, ctl1, "operator alice of cluster lab-1 by way of controller ctl1"},
		{Caller{Dev: true}, Caller{Dev: true}, "somebody on this machine (--dev) by way of controller of this machine"},
	} {
		out, err := Forward(received(c.caller))
		if err != nil {
			t.Fatal(err)
		}
		there := across(t, out, c.via)
		got, err := CallerOf(there)
		if err != nil || got.String() != c.want || got.Identity != c.caller.Identity || got.Dev != c.caller.Dev {
			t.Errorf("forwarded, the caller is %v (%v), want %s", got, err, c.want)
		}
		if _, err := Forward(there); err == nil || !strings.Contains(err.Error(), "not forwarded again") {
			t.Errorf("forwarded twice: %v", err)
		}
	}
}

// TestForwardedByStrangers has those who claim to speak for somebody else.
func TestForwardedByStrangers(t *testing.T) {
	uri := alice.URI()
	for what, c := range map[string]struct {
		ctx  context.Context
		part string
	}{
		"a viewer":              {received(Caller{Identity: Identity{"lab-1", Viewer, "wall"}}, forwardedKey, "1", callerKey, uri), "only controllers forward"},
		"an agent, no flag":     {received(Caller{Identity: Identity{"lab-1", Agent, "vm1"}}, callerKey, uri), "not how"},
		"somebody unknown":      {received(Caller{Dev: true}, forwardedKey, "1", callerKey, uri), "only controllers forward"},
		"for a controller":      {received(ctl1, forwardedKey, "1", callerKey, ctl1.URI()), "only those of its own cluster's agents and people"},
		"for another cluster":   {received(ctl1, forwardedKey, "1", callerKey, "spiffe://lab-2/operator/alice"), "only those of its own cluster's"},
		"for nobody":            {received(ctl1, forwardedKey, "1"), "without the name"},
		"for two":               {received(ctl1, forwardedKey, "1", callerKey, uri, callerKey, uri), "not how"},
		"for what is no caller": {received(ctl1, forwardedKey, "1", callerKey, "root"), "want spiffe://"},
		"a second hop":          {received(ctl1, forwardedKey, "2", callerKey, uri), "not how"},
	} {
		if got, err := CallerOf(c.ctx); err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: caller %v, %v, want an error with %q", what, got, err, c.part)
		}
	}
	if got, err := CallerOf(received(ctl1)); err != nil || got.Via != "" || got.Role != Controller {
		t.Errorf("a controller in its own name: %v (%v)", got, err)
	}
}
