package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// nodeID returns the id this directory belongs to. The first start decides: a node
// that came back under another name could vote twice in a term.
func nodeID(dir, want string) (string, error) {
	name := filepath.Join(dir, nodeFile)
	b, err := readFile(systemDisk{}, name, maxIDBytes)
	if err == nil {
		have := strings.TrimSpace(string(b))
		switch {
		case !validOldID(have):
			return "", fmt.Errorf("%s: %w: %.60q is no id of a node; write the id there that the other nodes list, or remove this node from the cluster and join with an empty directory under a new id", name, ErrDamaged, have)
		case want != "" && want != have:
			return "", fmt.Errorf("%s belongs to node %q, and this one is configured as %q", name, have, want)
		}
		return have, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the node's id: %w", err)
	}
	if want == "" {
		// Whoever has a log was given its id before.
		if _, err := os.Stat(filepath.Join(dir, logName)); !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s: %w: it is gone, and the log beside it is some node's; start with the id that the other nodes list", name, ErrDamaged)
		}
		want = "n-" + randomHex(6)
	}
	if err := writeFile(dir, nodeFile, []byte(want+"\n")); err != nil {
		return "", fmt.Errorf("keep the node's id: %w", err)
	}
	return want, nil
}

// maxIDBytes is how long the file with a node's id may be, the line's end included.
const maxIDBytes = 257

// validOldID admits more than ValidNodeID: nodes of before there were clusters could be
// called anything.
func validOldID(id string) bool {
	return id != "" && len(id) < maxIDBytes && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails, crypto/rand says
	return hex.EncodeToString(b)
}
