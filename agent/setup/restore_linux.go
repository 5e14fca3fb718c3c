package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"

	synclinev1 "syncline/proto/syncline/v1"
)

// prepare looks into a change, without making it.
func (h *Host) prepare(t Target, c *synclinev1.Change) (plan, error) {
	switch what := c.GetWhat().(type) {
	case *synclinev1.Change_Sysctl:
		return h.prepareSysctl(what.Sysctl)
	case *synclinev1.Change_Firewall:
		return h.prepareFirewall(t, what.Firewall)
	case *synclinev1.Change_Route:
		return h.prepareRoute(t, what.Route)
	case *synclinev1.Change_Neighbour:
		return h.prepareNeighbour(t, what.Neighbour)
	case *synclinev1.Change_Link:
		return h.prepareLink(t, what.Link)
	case *synclinev1.Change_Address:
		return h.prepareAddress(t, what.Address)
	}
	return plan{}, errors.New("this agent does not know the change: it is older than the controller")
}

// restore puts things back in the order of kinds. It goes on after an error, since
// every thing put back is one less.
func (h *Host) restore(ctx context.Context, e *entry, back []putBack) error {
	var errs []error
	each := func(kind kind, put func(putBack) error) {
		for _, b := range back {
			if b.Kind == kind {
				errs = append(errs, h.unlessCovered(b, put(b)))
			}
		}
	}
	each(kindMTU, h.restoreMTU)
	each(kindSysctl, h.restoreSysctl)
	each(kindLink, func(b putBack) error { return h.restoreLink(ctx, b) })
	each(kindOffload, h.restoreOffload)
	each(kindQueue, h.restoreQueue)
	errs = append(errs, h.restoreAddresses(ofKind(back, kindAddress)), h.restoreRoutes(ofKind(back, kindRoute)))
	each(kindNeighbour, h.restoreNeighbour)
	// Rules of other changes may share the table, whatever stands.
	for _, s := range e.Saved {
		if s.Kind == kindTable {
			errs = append(errs, h.restoreTable(s.Name, e))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("put back what it replaced: %w", err)
	}
	return nil
}

func ofKind(back []putBack, kind kind) []putBack {
	return slices.DeleteFunc(slices.Clone(back), func(b putBack) bool { return b.Kind != kind })
}

// unlessCovered lets another change that stands see to what cannot be put back now.
func (h *Host) unlessCovered(b putBack, err error) error {
	if err == nil || !b.Covered {
		return err
	}
	h.log.Info("another change stands in the way of what one replaced, and will put it back",
		"kind", string(b.Kind), "name", b.Name, "now", err)
	return nil
}
