package setup

import (
	"context"
	"errors"
	"fmt"

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
	var addresses, routes []putBack
	for _, b := range back {
		switch b.Kind {
		case kindMTU:
			errs = append(errs, h.restoreMTU(b))
		case kindSysctl:
			errs = append(errs, h.restoreSysctl(b))
		case kindLink:
			errs = append(errs, h.restoreLink(ctx, b))
		case kindOffload:
			errs = append(errs, h.restoreOffload(b))
		case kindQueue:
			errs = append(errs, h.restoreQueue(b))
		case kindAddress:
			addresses = append(addresses, b)
		case kindRoute:
			routes = append(routes, b)
		}
	}
	errs = append(errs, h.restoreAddresses(addresses), h.restoreRoutes(routes))
	for _, b := range back {
		if b.Kind == kindNeighbour {
			errs = append(errs, h.restoreNeighbour(b))
		}
	}
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
