// Package identity says who is at each end of a connection of the lab, and lets nobody
// else in.
//
// Everybody has a certificate of the cluster's own authority (package
// controller/authority). Who it is of stands in its one URI name and nowhere else,
// in the form of a SPIFFE ID:
//
//	spiffe://CLUSTER/ROLE/NAME
//
// Names of hosts and addresses prove nothing and are not looked at. Both ends show a
// certificate, both check the other's chain, times, cluster and role, and TLS 1.3 is
// the only version. One port may speak several protocols; which one a connection is
// for is agreed in the handshake (ALPN, RFC 7301), and each has the roles that may
// speak it.
//
// The single exception is plain text for development (Dev), on loopback addresses
// and Unix sockets only; both ends look at the connection itself before they agree to it.
package identity

import (
	"crypto/x509"
	"fmt"
	"regexp"
	"strings"
)

// Role is what a certificate's owner may be. The zero Role is none.
type Role uint8

// The roles there are. Their words are in certificates and never change.
const (
	// Controller keeps the lab: agents and operators dial it, and its like.
	Controller Role = iota + 1
	// Agent runs lanes on one host. Its name is the host's in the lab.
	Agent
	// Operator runs experiments.
	Operator
	// Viewer looks, and changes nothing.
	Viewer
)

// Roles are all there are.
var Roles = []Role{Controller, Agent, Operator, Viewer}

var roleWords = [...]string{Controller: "controller", Agent: "agent", Operator: "operator", Viewer: "viewer"}

func (r Role) String() string {
	if r == 0 || int(r) >= len(roleWords) {
		return fmt.Sprintf("role(%d)", uint8(r))
	}
	return roleWords[r]
}

// ParseRole reads the word of a role.
func ParseRole(word string) (Role, error) {
	for _, r := range Roles {
		if word == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("no role %q; there are: %s", word, roleList(Roles))
}

// roleList is roles as people enumerate them.
func roleList(roles []Role) string {
	words := make([]string, len(roles))
	for i, r := range roles {
		words[i] = r.String()
	}
	return strings.Join(words, ", ")
}

// Identity is who a certificate is of.
type Identity struct {
	// Cluster is the id of the cluster, as a SPIFFE trust domain is written: 1 to 63 lower-case
	// letters, digits, dots, dashes and underscores, the first a letter or a digit.
	Cluster string
	Role    Role
	// Name is unique among those of a role: 1 to 63 letters, digits, dots, dashes and underscores,
	// the first a letter or a digit.
	Name string
}

const scheme = "spiffe://"

var (
	clusterForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// CheckCluster refuses what cannot be the id of a cluster.
func CheckCluster(id string) error {
	if !clusterForm.MatchString(id) {
		return fmt.Errorf("cluster id %.80q: use 1 to 63 lower-case letters, digits, dots, dashes and underscores, and begin with a letter or a digit", id)
	}
	return nil
}

// CheckName refuses what cannot be a name.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("name %.80q: use 1 to 63 letters, digits, dots, dashes and underscores, and begin with a letter or a digit", name)
	}
	return nil
}

// Check refuses an identity that no certificate can have.
func (i Identity) Check() error {
	if err := CheckCluster(i.Cluster); err != nil {
		return err
	}
	if i.Role == 0 || int(i.Role) >= len(roleWords) {
		return fmt.Errorf("%v is no role; there are: %s", i.Role, roleList(Roles))
	}
	return CheckName(i.Name)
}

// URI is the identity as certificates have it.
func (i Identity) URI() string {
	return ClusterURI(i.Cluster) + "/" + i.Role.String() + "/" + i.Name
}

// ClusterURI is the URI name in the certificate of a cluster's authority.
func ClusterURI(cluster string) string { return scheme + cluster }

// String is the identity as people read it.
func (i Identity) String() string {
	return fmt.Sprintf("%v %s of cluster %s", i.Role, i.Name, i.Cluster)
}

// Parse reads the URI name of a certificate. There is one way to write each identity:
// what Parse accepts is what URI gives.
func Parse(uri string) (Identity, error) {
	rest, ok := strings.CutPrefix(uri, scheme)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return Identity{}, fmt.Errorf("URI name %.200q: want %sCLUSTER/ROLE/NAME", uri, scheme)
	}
	role, err := ParseRole(parts[1])
	if err != nil {
		return Identity{}, fmt.Errorf("URI name %.200q: %w", uri, err)
	}
	i := Identity{Cluster: parts[0], Role: role, Name: parts[2]}
	if err := i.Check(); err != nil {
		return Identity{}, fmt.Errorf("URI name %.200q: %w", uri, err)
	}
	return i, nil
}

// FromCertificate reads whose a certificate says it is. It believes it: whether it is
// true the chain says, which Credentials check.
func FromCertificate(cert *x509.Certificate) (Identity, error) {
	uri, err := onlyURI(cert)
	if err != nil {
		return Identity{}, err
	}
	return Parse(uri)
}

// ClusterFromAuthority reads of which cluster a certificate says it is the authority.
func ClusterFromAuthority(cert *x509.Certificate) (string, error) {
	uri, err := onlyURI(cert)
	if err != nil {
		return "", err
	}
	cluster, ok := strings.CutPrefix(uri, scheme)
	if !ok || !cert.IsCA {
		return "", fmt.Errorf("certificate %q is not of a cluster's authority", cert.Subject)
	}
	return cluster, CheckCluster(cluster)
}

// onlyURI is the one URI name that a certificate of the lab has.
func onlyURI(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", fmt.Errorf("certificate %q has %d URI names; those that syncline pki issues have one", cert.Subject, len(cert.URIs))
	}
	return cert.URIs[0].String(), nil
}
