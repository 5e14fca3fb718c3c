package store

import "sync"

// readers counts who reads the chunks of which run, so that files are not removed from
// under them. The zero readers is ready for use.
type readers struct {
	mu    sync.Mutex
	count map[string]int
}

// enter says that somebody reads a run until leave is called.
func (r *readers) enter(run string) (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = map[string]int{}
	}
	r.count[run]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.count[run]--; r.count[run] == 0 {
			delete(r.count, run)
		}
	}
}

// unlessRead calls do if nobody reads the run, and lets nobody begin meanwhile.
func (r *readers) unlessRead(run string, do func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count[run] > 0 {
		return nil
	}
	return do()
}
