package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"syncline/controller/peer"
	"syncline/controller/port"
	"syncline/controller/store"
	"syncline/proto/identity"
)

// dialLimit bounds how long another controller may take to answer a connection.
const dialLimit = 5 * time.Second

// storeConfig is how the store of this controller is opened. With Advertise it is a node that
// others reach, over the port that it makes.
func (c *Controller) storeConfig(cfg Config) (store.Config, error) {
	out := store.Config{
		Dir: cfg.Dir, Log: cfg.Log, Version: cfg.Version, Election: cfg.Election, Promotion: cfg.Promotion,
		Wrote: func(took time.Duration) { c.metrics.logWrites.Observe(took.Seconds()) },
	}
	if cfg.Advertise == "" {
		return out, nil
	}
	if cfg.Listener == nil {
		return out, errors.New("a controller of a cluster needs a port that it shares with the others: set Config.Listener")
	}
	if err := checkAdvertised(cfg.Advertise, cfg.Dev); err != nil {
		return out, err
	}
	own, err := store.ReadIdentity(cfg.Dir)
	if err != nil {
		return out, err
	}
	if own.Cluster == "" {
		return out, fmt.Errorf("%s belongs to no cluster: begin one with syncline cluster init, or join one with syncline cluster join", cfg.Dir)
	}
	creds := identity.Dev()
	network := &store.Network{Address: cfg.Advertise}
	portConfig := port.Config{Log: cfg.Log}
	if !cfg.Dev {
		who := cfg.Identity.Identity()
		if who.Name != own.Node {
			return out, fmt.Errorf("%s is of node %s, and the certificate of %v: the others know a node by its certificate; issue one for it (syncline pki issue controller %[2]s)", cfg.Dir, own.Node, who)
		}
		creds = cfg.Identity.Client()
		raft := cfg.Identity.ClientConfig(identity.Raft)
		network.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			d := tls.Dialer{Config: raft, NetDialer: &net.Dialer{Timeout: dialLimit}}
			conn, err := d.DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, cfg.Identity.Explain(err)
			}
			return conn, nil
		}
		network.Node = nodeOf
		portConfig.TLS = cfg.Identity.ServerConfig(identity.GRPCProtocol, identity.RaftProtocol)
	}
	c.port = port.New(cfg.Listener, portConfig)
	network.Listener = c.port.Raft()
	c.peers = peer.NewClient(creds)
	out.Network, out.Others, out.Source = network, c.peers, c.peers
	return out, nil
}

// checkAdvertised refuses an address that the others could not reach.
func checkAdvertised(address string, dev bool) error {
	host, service, err := net.SplitHostPort(address)
	if err != nil || host == "" || service == "" || service == "0" {
		return fmt.Errorf("address %q, where the other controllers are to reach this one: write HOST:PORT", address)
	}
	ip := net.ParseIP(host)
	if ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("address %q stands for all addresses of this host, and the other controllers need one of them", address)
	}
	if dev && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--dev is plain text between processes of this machine, and the other controllers are to reach this one at %q: give a loopback address, or a certificate", address)
	}
	return nil
}

// nodeOf is the name in the certificate at the other end of a connection for raft. The
// handshake has checked that it is a controller's, of this cluster.
func nodeOf(conn net.Conn) (string, error) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return "", fmt.Errorf("a connection of type %T has no certificate; this is a bug of the controller", conn)
	}
	state := secure.ConnectionState()
	if len(state.PeerCertificates) == 0 {
		return "", errors.New("the other side has shown no certificate")
	}
	who, err := identity.FromCertificate(state.PeerCertificates[0])
	if err != nil {
		return "", err
	}
	return who.Name, nil
}

// peerServer answers the other controllers.
func (c *Controller) peerServer() peer.Server {
	s := peer.Server{Store: c.store}
	if c.cfg.Dev {
		return s
	}
	s.Caller = func(ctx context.Context) (string, error) {
		who, err := identity.CallerOf(ctx)
		return who.Name, err
	}
	return s
}
