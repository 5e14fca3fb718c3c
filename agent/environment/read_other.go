//go:build !linux

package environment

import (
	"errors"
	"runtime"

	synclinev1 "syncline/proto/syncline/v1"
)

// Read says that it knows no host but Linux's.
func Read(cfg Config) *synclinev1.Environment {
	p := newPage()
	p.section(sectionVersions)
	p.set("syncline", cfg.Version)
	p.set("go", runtime.Version())
	p.section(sectionKernel)
	p.fail("release", errors.New("what a host is like is read on Linux only, this is "+runtime.GOOS))
	return p.end()
}

// Interfaces says that it knows no host but Linux's.
func Interfaces() ([]string, error) {
	return nil, errors.New("interfaces are listed on Linux only, this is " + runtime.GOOS)
}

// OfRun is Read.
func OfRun(_ *synclinev1.Prepare, cfg Config) *synclinev1.Environment {
	return Read(cfg)
}
