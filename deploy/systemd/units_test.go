// Package systemd_test holds the unit files to what systemd itself says of them:
// they parse without a warning, and they expose no more than they should.
package systemd_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const binary = "/usr/local/bin/syncline"

// exposure is the worst value, in tenths, that systemd-analyze security may give a
// unit. The agent's is what its four capabilities and its packet sockets cost.
var exposure = map[string]string{
	"syncline-controller.service": "15",
	"syncline-agent.service":      "30",
}

func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here; install Debian's systemd")
	}
	units, err := filepath.Glob("*.service")
	if err != nil || len(units) != len(exposure) {
		t.Fatalf("unit files %v (%v), want %d", units, err, len(exposure))
	}
	for _, unit := range units {
		t.Run(unit, func(t *testing.T) {
			path := installed(t, unit)
			run(t, analyze, "verify", "--man=no", "--recursive-errors=no", path)
			run(t, analyze, "security", "--offline=true", "--no-pager", "--threshold="+exposure[unit], path)
		})
	}
}

// installed is a copy of a unit whose program exists, as systemd demands.
func installed(t *testing.T, unit string) string {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("ExecStart="+binary+" ")) {
		t.Fatalf("the unit does not start %s", binary)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "syncline")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, unit)
	if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(binary), []byte(program)), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// run fails the test on any complaint: verify warns of a misspelt directive and yet
// exits with 0.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Errorf("%s %s: %v\n%s%s", filepath.Base(name), args[0], err, complaints.Bytes(), out)
	}
}
