package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Identity is what a directory knows of itself. It is made once and never changes.
type Identity struct {
	// Node is the id within the cluster.
	Node string
	// Disk is a random UUID (RFC 9562, version 4). A node that lost its disk has
	// forgotten what it voted for; by another Disk the others notice.
	Disk string
	// Cluster is the id of the cluster; empty in a directory that was never in one.
	Cluster string
	// Joined: the directory was made to join a cluster that was there already, and
	// must never begin one of its own.
	Joined bool
}

// Files of the identity.
const (
	lockFile    = "lock"
	nodeFile    = "id"
	diskFile    = "disk.uuid"
	clusterFile = "cluster"
	// clusterMagic is the first line of the file cluster, with the version of its format.
	clusterMagic = clusterName + "1"
	clusterName  = "syncline cluster "
)

// Identify returns the identity of a directory, which it makes if it is not there. node is the
// wanted id; empty takes the one there is, or makes one up.
func Identify(dir, node string) (Identity, error) {
	if err := isWhole(dir); err != nil {
		return Identity{}, err
	}
	return identify(dir, node)
}

func identify(dir, node string) (Identity, error) {
	if node != "" && !ValidNodeID(node) {
		return Identity{}, fmt.Errorf("node id %q: 1 to %d lower-case letters, digits, '-' and '.', please", node, MaxNameBytes)
	}
	if err := makeDir(dir); err != nil {
		return Identity{}, err
	}
	var id Identity
	var err error
	if id.Node, err = nodeID(dir, node); err != nil {
		return Identity{}, err
	}
	if id.Disk, err = diskID(dir); err != nil {
		return Identity{}, err
	}
	if id.Cluster, id.Joined, err = readCluster(dir); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// ValidNodeID reports whether a node may be called so. '@' is not among the characters: it
// parts the id from the address where raft's transport has one string for both.
func ValidNodeID(id string) bool {
	if len(id) == 0 || len(id) > MaxNameBytes {
		return false
	}
	for _, b := range []byte(id) {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' && b != '.' {
			return false
		}
	}
	return true
}

// JoinCluster writes down that dir belongs to a cluster that is there already, after its leader has
// taken the node in. From then on Open never begins a cluster there. It may be repeated.
func JoinCluster(dir, cluster string) error {
	have, _, err := readCluster(dir)
	switch {
	case err != nil:
		return err
	case have == cluster:
		return nil
	case have != "":
		return fmt.Errorf("%s belongs to cluster %s, and cannot join %s: two clusters are never made one; join with an empty directory", dir, have, cluster)
	}
	return writeCluster(dir, cluster, true)
}

func diskID(dir string) (string, error) {
	name := filepath.Join(dir, diskFile)
	b, err := os.ReadFile(name)
	if err == nil {
		id := strings.TrimSpace(string(b))
		if !validUUID(id) {
			return "", fmt.Errorf("%w: %s holds %.60q, which is no UUID; restore the file, or remove this node from the cluster and join with an empty directory under a new id", ErrDamaged, name, id)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the id of the disk: %w", err)
	}
	id := newUUID()
	if err := writeFile(dir, diskFile, []byte(id+"\n")); err != nil {
		return "", fmt.Errorf("keep the id of the disk: %w", err)
	}
	return id, nil
}

func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails, crypto/rand says
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func validUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, b := range []byte(s) {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if b != '-' {
				return false
			}
		case (b < '0' || b > '9') && (b < 'a' || b > 'f'):
			return false
		}
	}
	return true
}

// The file cluster has three lines: the magic, "id" and the cluster's id, "start" and how
// the directory came to it, "bootstrap" or "join".
func writeCluster(dir, cluster string, joined bool) error {
	start := "bootstrap"
	if joined {
		start = "join"
	}
	text := fmt.Sprintf("%s\nid %s\nstart %s\n", clusterMagic, cluster, start)
	if err := writeFile(dir, clusterFile, []byte(text)); err != nil {
		return fmt.Errorf("keep the cluster's id: %w", err)
	}
	return nil
}

// readCluster returns no id if the directory never was in a cluster.
func readCluster(dir string) (cluster string, joined bool, err error) {
	name := filepath.Join(dir, clusterFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read the cluster's id: %w", err)
	}
	if cluster, joined, err = parseCluster(string(b)); err != nil {
		return "", false, fmt.Errorf("%s: %w", name, err)
	}
	return cluster, joined, nil
}

func parseCluster(text string) (cluster string, joined bool, err error) {
	lines := strings.Split(text, "\n")
	if version, ok := strings.CutPrefix(lines[0], clusterName); ok && lines[0] != clusterMagic && len(lines) > 1 && isNumber(version) {
		return "", false, fmt.Errorf("its version is %s, and this program reads %s; start the version of the program that wrote it, or a newer one", version, clusterMagic[len(clusterName):])
	}
	if lines[0] != clusterMagic {
		return "", false, fmt.Errorf("%w: it does not begin with %q; restore it, or start the version of the program that wrote it", ErrDamaged, clusterMagic)
	}
	if len(lines) != 4 || lines[3] != "" {
		return "", false, fmt.Errorf("%w: it has %d lines, not 3", ErrDamaged, len(lines)-1)
	}
	cluster, ok := strings.CutPrefix(lines[1], "id ")
	if !ok || !validClusterID(cluster) {
		return "", false, fmt.Errorf("%w: its second line is %.80q", ErrDamaged, lines[1])
	}
	switch lines[2] {
	case "start bootstrap":
		return cluster, false, nil
	case "start join":
		return cluster, true, nil
	}
	return "", false, fmt.Errorf("%w: its third line is %.80q", ErrDamaged, lines[2])
}

// isNumber reports whether a text is a number as versions are written.
func isNumber(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && strconv.FormatUint(n, 10) == s
}

// validClusterID admits what can be the host part of a URI.
func validClusterID(id string) bool { return ValidNodeID(id) }

// ReadIdentity returns what a directory knows of itself, and makes nothing: a directory that
// is new, or not there, has the zero Identity.
func ReadIdentity(dir string) (Identity, error) {
	if _, err := os.Stat(filepath.Join(dir, nodeFile)); errors.Is(err, fs.ErrNotExist) {
		return Identity{}, nil
	} else if err != nil {
		return Identity{}, fmt.Errorf("read the node's id: %w", err)
	}
	return Identify(dir, "")
}

// BeginCluster makes a directory that is of no cluster yet the first node of one. node and
// cluster are the ids; empty ones are made up.
func BeginCluster(dir, node, cluster string) (Identity, error) {
	id, err := Identify(dir, node)
	if err != nil {
		return Identity{}, err
	}
	if id.Cluster != "" {
		return Identity{}, fmt.Errorf("%s belongs to cluster %s already, as node %s: take an empty directory for another cluster", dir, id.Cluster, id.Node)
	}
	if _, err := os.Stat(filepath.Join(dir, logName)); !errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("%s has a log, and belongs to no cluster: it is of before there were clusters; start it once by itself", dir)
	}
	if err := id.begin(dir, cluster); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// begin writes down that a directory is the first node of a cluster; an empty id is made up.
func (id *Identity) begin(dir, cluster string) error {
	if cluster == "" {
		cluster = "c-" + randomHex(16)
	}
	if !validClusterID(cluster) {
		return fmt.Errorf("cluster id %q: 1 to %d lower-case letters, digits, '-' and '.', please", cluster, MaxNameBytes)
	}
	if err := writeCluster(dir, cluster, false); err != nil {
		return err
	}
	id.Cluster = cluster
	return nil
}
