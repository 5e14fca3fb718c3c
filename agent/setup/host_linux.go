package setup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// maxChanges bounds what stands at once.
const maxChanges = 4096

// Host is what one process has changed on this host. Its methods may be called from
// several goroutines, whose threads are all in the network namespace of Open; they run
// one after the other.
type Host struct {
	log       *slog.Logger
	recovered []string

	mu     sync.Mutex
	file   *file
	ledger ledger
	nextID uint64
	// table is the name of the nftables table of this Host alone.
	table string
	// links remembers the interface of each Target.Own, which the address may leave.
	links  map[netip.Addr]int
	closed bool
}

// Open takes the journal in dir, which is made if it is missing, and undoes what an
// earlier process changed and could not undo. If that fails nothing is given up: the
// error says what is still changed, and the next Open tries again. A journal that a
// living process holds is ErrInUse.
//
// Changes of an earlier boot, or of a network namespace other than the caller's, are
// dropped with a line in log: they are gone, or are not this process's to see.
func Open(dir string, log *slog.Logger) (*Host, error) {
	now, err := here()
	if err != nil {
		return nil, err
	}
	f, text, err := openFile(dir, now)
	if err != nil {
		return nil, err
	}
	h := &Host{log: log, file: f, nextID: 1, table: tableName(), links: map[netip.Addr]int{}}
	if err := h.recover(text, now); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return h, nil
}

// tableName makes a name for a table that no other agent of this namespace has.
func tableName() string {
	var b [4]byte
	rand.Read(b[:])
	return "syncline-" + hex.EncodeToString(b[:])
}

// recover undoes what an earlier process left, newest first.
func (h *Host) recover(text []byte, now place) error {
	then, rest, err := parsePlace(text)
	var left *ledger
	switch {
	case err != nil:
	case then == nil:
		return h.file.clear()
	case !then.same(now):
		h.log.Info("changes of an earlier boot or of another network namespace are gone with it",
			"journal", h.file.name(), "boot", then.Boot, "netns", then.Netns)
		return h.file.clear()
	default:
		left, err = parseRecords(rest)
	}
	if errors.Is(err, errNewer) {
		return fmt.Errorf("%s: %w: start the version of the agent that wrote it, or a newer one, which undoes what it changed on this host; or reboot", h.file.name(), err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: it says what an earlier agent changed on this host: undo that by hand or reboot, then remove the file", h.file.name(), err)
	}
	h.ledger = *left
	var errs []error
	for _, e := range slices.Backward(slices.Clone(left.entries)) {
		h.nextID = max(h.nextID, e.ID+1)
		if err := h.undo(context.Background(), e, nil); err != nil {
			errs = append(errs, err)
			continue
		}
		h.recovered = append(h.recovered, e.Text)
		h.log.Info("undid a change of an earlier agent", "run", e.Run, "change", e.Text)
	}
	if len(errs) > 0 {
		return fmt.Errorf("undo what an earlier agent changed (run the agent as root once): %w", errors.Join(errs...))
	}
	return h.file.clear()
}

// Recovered lists what Open undid, as the authors wrote it, newest first.
func (h *Host) Recovered() []string { return slices.Clone(h.recovered) }

// Apply makes the changes of s in their order, all or none: after an error those that
// were made are undone. made, which may be nil, is called right after each change and,
// with Undone, right after each that is taken back.
//
// A setup without a name may be applied several times, one with a name is ErrApplied
// until it is undone. ctx is looked at between two changes.
func (h *Host) Apply(ctx context.Context, t Target, s *synclinev1.Setup, made func(*synclinev1.ChangeMade)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	if s.GetName() != "" && len(h.ledger.of(s.GetName())) > 0 {
		return fmt.Errorf("apply %s: %w", s.GetName(), ErrApplied)
	}
	if made == nil {
		made = func(*synclinev1.ChangeMade) {}
	}
	var done []*entry
	err := h.applyAll(ctx, t, s, made, &done)
	if err == nil {
		return nil
	}
	for _, e := range slices.Backward(done) {
		err = errors.Join(err, h.undo(context.WithoutCancel(ctx), e, made))
	}
	return err
}

func (h *Host) applyAll(ctx context.Context, t Target, s *synclinev1.Setup, made func(*synclinev1.ChangeMade), done *[]*entry) error {
	batch := h.nextID
	for _, c := range s.GetChanges() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("apply %s: %w", c.GetText(), err)
		}
		e, err := h.apply(ctx, t, s.GetName(), batch, c)
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (changing a host needs CAP_NET_ADMIN: run the agent as root, or give it AmbientCapabilities=CAP_NET_ADMIN in its unit)", err)
		}
		if err != nil {
			return fmt.Errorf("apply %s: %w", c.GetText(), err)
		}
		if e != nil {
			*done = append(*done, e)
		}
		if e != nil || c.GetNeighbour() != nil {
			made(&synclinev1.ChangeMade{Text: c.GetText(), Name: s.GetName()})
		}
	}
	return nil
}

// plan is a change that was looked into and not yet made.
type plan struct {
	// saved is what it replaces; empty: there is nothing to undo.
	saved []saved
	rule  *rule
	// holds is entry.Holds.
	holds bool
	// make changes the host; nil: there is nothing to do.
	make func() error
}

// apply makes one change. It returns nil if there is nothing to undo.
func (h *Host) apply(ctx context.Context, t Target, setup string, batch uint64, c *synclinev1.Change) (*entry, error) {
	p, err := h.prepare(t, c)
	if err != nil || p.make == nil {
		return nil, err
	}
	if len(p.saved) == 0 {
		return nil, p.make()
	}
	if len(h.ledger.entries) >= maxChanges {
		return nil, fmt.Errorf("%d changes stand on this host, which is the limit", maxChanges)
	}
	e := &entry{ID: h.nextID, Run: t.RunID, Setup: setup, Text: c.GetText(), Saved: p.saved, Holds: p.holds, rule: p.rule}
	if e.rule != nil {
		e.rule.batch = batch
		if e.rule.tracks() {
			e.Peers = t.Peers
		}
	}
	h.nextID++
	h.ledger.add(e)
	if err := h.file.write(record{Made: e}, &h.ledger); err != nil {
		h.ledger.undone(e, nil)
		return nil, err
	}
	if err := p.make(); err != nil {
		// Some of it may have been done.
		return nil, errors.Join(err, h.undo(context.WithoutCancel(ctx), e, nil))
	}
	return e, nil
}

// Undo takes back the setup of this name, newest change first; "" is all setups
// without a name. undone, which may be nil, is called right after each change that was
// taken back. An error keeps the change it is about, and only that.
//
// ctx does not stop it: it bounds the wait for an interface that comes up.
func (h *Host) Undo(ctx context.Context, name string, undone func(*synclinev1.ChangeMade)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	entries := h.ledger.of(name)
	if name != "" && len(entries) == 0 {
		return fmt.Errorf("undo %s: %w", name, ErrNotApplied)
	}
	return h.undoEach(ctx, entries, undone)
}

// UndoAll takes back everything, newest first, as Undo does.
func (h *Host) UndoAll(ctx context.Context, undone func(*synclinev1.ChangeMade)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	return h.undoAll(ctx, undone)
}

func (h *Host) undoAll(ctx context.Context, undone func(*synclinev1.ChangeMade)) error {
	entries := slices.Clone(h.ledger.entries)
	slices.Reverse(entries)
	return h.undoEach(ctx, entries, undone)
}

func (h *Host) undoEach(ctx context.Context, entries []*entry, undone func(*synclinev1.ChangeMade)) error {
	var errs []error
	for _, e := range entries {
		errs = append(errs, h.undo(ctx, e, undone))
	}
	return errors.Join(errs...)
}

// undo takes back one change. It may be done again after an error, or after a crash
// at any point of it.
func (h *Host) undo(ctx context.Context, e *entry, undone func(*synclinev1.ChangeMade)) error {
	back, pass := h.ledger.undoing(e)
	if err := h.restore(ctx, e, back); err != nil {
		return fmt.Errorf("undo %s: %w", e.Text, err)
	}
	h.ledger.undone(e, pass)
	err := h.file.write(record{Undone: e.ID}, &h.ledger)
	if undone != nil {
		undone(&synclinev1.ChangeMade{Text: e.Text, Name: e.Setup, Undone: true})
	}
	if err != nil {
		return fmt.Errorf("undo %s: %w", e.Text, err)
	}
	return nil
}

// Close undoes what still stands and lets go of the journal. What could not be undone
// is in the error and stays in the journal, for the next Open.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	return errors.Join(h.undoAll(context.Background(), nil), h.file.close())
}
