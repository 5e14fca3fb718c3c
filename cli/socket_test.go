package cli

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSocketOfAKilledController: the file that is left is replaced, and only such a one.
func TestSocketOfAKilledController(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := listenOnSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenOnSocket(path); err == nil || !strings.Contains(err.Error(), "another controller") {
		t.Errorf("a socket that somebody listens on: %v", err)
	}
	// Killed, it leaves its file.
	first.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := listenOnSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenOnSocket(path); err == nil || !strings.Contains(err.Error(), "another kind") {
		t.Errorf("a file that is no socket: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file is %q now, %v", b, err)
	}
}
