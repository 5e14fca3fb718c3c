package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// ownID returns the id of the node, and marks a log with it that is not marked yet.
func ownID(d disk, dir, want string, logs *checkedLog) (string, error) {
	logged, err := logs.nodeID()
	if err != nil {
		return "", fmt.Errorf("whose log this is: %w", err)
	}
	id, err := nodeID(d, dir, want, logged)
	if err == nil && logged == "" {
		err = logs.belongsTo(id)
	}
	return id, err
}

// nodeID returns the id this directory belongs to. The first start decides: a node
// that came back under another name could vote twice in a term. logged is the id
// that the log is marked with, empty if it is new or older than the mark; a file that
// is gone is written again from it.
func nodeID(d disk, dir, want, logged string) (string, error) {
	name := filepath.Join(dir, "id")
	b, err := readFile(d, name, maxIDBytes)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the node's id: %w", err)
	}
	if err == nil {
		have := strings.TrimSpace(string(b))
		switch {
		case !validID(have):
			return "", fmt.Errorf("%s: %w: %q is no id of a node; %s", name, ErrDamaged, have, idRemedy(logged))
		case logged != "" && logged != have:
			return "", fmt.Errorf("%s: %w: it says node %q, and the log beside it is of node %q; %s", name, ErrDamaged, have, logged, idRemedy(logged))
		case want != "" && want != have:
			return "", fmt.Errorf("%s belongs to node %q, and this one is configured as %q", name, have, want)
		}
		return have, nil
	}
	switch {
	case logged != "" && want != "" && want != logged:
		return "", fmt.Errorf("%s is gone, the log beside it is of node %q, and this one is configured as %q", name, logged, want)
	case logged != "":
		want = logged
	case want == "":
		want = "n-" + randomHex(6)
	case !validID(want):
		return "", fmt.Errorf("node id %q: %w: 1 to %d bytes without spaces, please", want, ErrInvalid, maxIDBytes-1)
	}
	if err := writeFile(d, dir, "id", []byte(want+"\n")); err != nil {
		return "", fmt.Errorf("keep the node's id: %w", err)
	}
	return want, nil
}

func idRemedy(logged string) string {
	if logged != "" {
		return "remove the file: it is made again from the log"
	}
	return "write the id that the other nodes list, or begin with an empty directory and join as a new node"
}

// maxIDBytes is how long the file with a node's id may be, the line's end included.
const maxIDBytes = 257

func validID(id string) bool {
	return id != "" && len(id) < maxIDBytes && utf8.ValidString(id) && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails, crypto/rand says
	return hex.EncodeToString(b)
}
