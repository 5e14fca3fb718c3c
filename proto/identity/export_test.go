package identity

import (
	"log/slog"
	"time"
)

// OpenAt is Open with another clock.
func (f Files) OpenAt(log *slog.Logger, now func() time.Time) (*Credentials, error) {
	return f.open(log, now)
}
