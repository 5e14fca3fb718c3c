//go:build !linux

package agent

import (
	"errors"

	synclinev1 "syncline/proto/syncline/v1"
)

func readUsage() (*synclinev1.Usage, error) {
	return nil, errors.New("processor time is read on Linux only")
}
