package environment

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// Read reads what this host is like. It takes some milliseconds, mostly for the
// sysctls. Safe for concurrent use.
func Read(cfg Config) *synclinev1.Environment {
	p := newPage()
	p.versions(cfg.Version)
	p.kernel()
	p.clock(cfg.TestClock)
	p.processors()
	p.memory()
	p.virtualization()
	p.process()
	p.load()
	p.interfaces(cfg)
	p.sysctls()
	return p.end()
}

// maxFile bounds what is read of one file of /proc or /sys.
const maxFile = 1 << 20

// file is the text of a file, without the end of its last line.
func file(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\n"), nil
}

// file puts the text of a file.
func (p *page) file(name, path string) {
	text, err := file(path)
	p.put(name, text, err)
}

// maybe puts the text of a file that is empty or missing on many hosts; absent says
// what that means.
func (p *page) maybe(name, path, absent string) {
	text, err := file(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && text == "" {
		p.set(name, absent)
		return
	}
	p.put(name, text, err)
}
