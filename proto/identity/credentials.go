package identity

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Credentials are a process's own certificate and what it needs to check others. They
// follow the files: each handshake looks at the three with stat(2), some microseconds,
// and reads them again if they were replaced. Connections that are open live on. New
// files that cannot be used change nothing; the log says why, once. Safe for
// concurrent use.
type Credentials struct {
	files Files
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	loaded *loaded
	// seen is how the files looked before they were last read, and read when that was.
	seen look
	read time.Time
	// failure is why what was read last was not taken; "" if it was.
	failure string
}

// A file system stamps a change with the time of its last tick, so two changes in quick
// succession can look like one. Files that were changed less than young before they were
// read are read again.
const young = 2 * time.Second

// again is how long files that could not be used are left alone: what was wrong may be
// cured by what stat(2) does not show.
const again = time.Second

// Open reads the files. The certificate must be one that others would accept now. log must not be nil.
func (f Files) Open(log *slog.Logger) (*Credentials, error) { return f.open(log, time.Now) }

func (f Files) open(log *slog.Logger, now func() time.Time) (*Credentials, error) {
	c := &Credentials{files: f, log: log, now: now}
	if err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// Identity is whose certificate it is. It never changes: files of somebody else are not taken.
func (c *Credentials) Identity() Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loaded.identity
}

// Expires is until when the certificate is valid, by the wall clock.
func (c *Credentials) Expires() time.Time { return c.current().leaf().NotAfter }

// current is what the files hold now, or what they held when they could last be used.
func (c *Credentials) current() *loaded {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, err := c.files.look()
	if err == nil && seen.same(c.seen) && !c.unsettled() {
		return c.loaded
	}
	old := c.loaded
	err = c.reload()
	switch {
	case err != nil && err.Error() != c.failure:
		c.failure = err.Error()
		c.log.Warn("the certificate's files cannot be used; the certificate that was read before stays in use",
			"cert", c.files.Cert, "cause", err, "valid_until", old.leaf().NotAfter)
	case err == nil:
		c.failure = ""
		if !old.leaf().Equal(c.loaded.leaf()) {
			c.log.Info("read a new certificate", "cert", c.files.Cert, "valid_until", c.loaded.leaf().NotAfter)
		}
	}
	return c.loaded
}

// unsettled reports whether files that look as before are to be read again all the same.
// The caller holds mu.
func (c *Credentials) unsettled() bool {
	if c.failure != "" {
		return c.now().Sub(c.read) >= again
	}
	for _, f := range c.seen {
		if c.read.Sub(f.ModTime()) < young {
			return true
		}
	}
	return false
}

// reload reads the files, and takes them if they are good. The caller holds mu, or is
// the only one to know c.
func (c *Credentials) reload() error {
	c.read = c.now()
	// The look comes first: a change after it is seen at the next.
	seen, err := c.files.look()
	c.seen = seen
	if err != nil {
		return err
	}
	l, err := c.files.load()
	if err != nil {
		return err
	}
	if _, err := l.verify(l.pair.Leaf, nil, c.now()); err != nil {
		return fmt.Errorf("%s: %w", c.files.Cert, err)
	}
	if c.loaded != nil && c.loaded.identity != l.identity {
		return fmt.Errorf("%s is now of %v, and this process is %v: start it again to make it somebody else", c.files.Cert, l.identity, c.loaded.identity)
	}
	c.loaded = l
	return nil
}

// Require refuses credentials of another role than a process needs.
func (c *Credentials) Require(role Role) error {
	if who := c.Identity(); who.Role != role {
		return fmt.Errorf("%s is of %v, and this needs one of the role %v: syncline pki issue %v NAME", c.files.Cert, who, role, role)
	}
	return nil
}
