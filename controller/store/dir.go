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
)

// nodeID returns the id this directory belongs to. The first start decides: a node
// that came back under another name could vote twice in a term.
func nodeID(dir, want string) (string, error) {
	name := filepath.Join(dir, "id")
	b, err := os.ReadFile(name)
	if err == nil {
		have := strings.TrimSpace(string(b))
		if have == "" || want != "" && want != have {
			return "", fmt.Errorf("%s belongs to node %q, and this one is configured as %q", name, have, want)
		}
		return have, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the node's id: %w", err)
	}
	if want == "" {
		want = "n-" + randomHex(6)
	}
	if err := writeFile(dir, "id", []byte(want+"\n")); err != nil {
		return "", fmt.Errorf("keep the node's id: %w", err)
	}
	return want, nil
}

// writeFile makes a file that is whole or not there after a crash.
func writeFile(dir, name string, data []byte) error {
	tmp := filepath.Join(dir, name+".tmp")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncPath(dir)
}

// syncPath fsyncs a file or directory.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails, crypto/rand says
	return hex.EncodeToString(b)
}
