//go:build !linux

package agent

import (
	"errors"

	synclinev1 "syncline/proto/syncline/v1"
)

// describeHost refuses: lanes, taps and clocks are Linux's.
func describeHost(Config) (*synclinev1.Hello, error) {
	return nil, errors.New("an agent runs on Linux only; the other commands of syncline work here")
}

// capabilities is never asked: New refuses before.
func capabilities() []*synclinev1.Capability { return nil }

// hostAddresses is as little asked for as capabilities.
func hostAddresses() ([]string, error) { return nil, nil }

func features([]string, error) ([]*synclinev1.Feature, error) { return nil, nil }
