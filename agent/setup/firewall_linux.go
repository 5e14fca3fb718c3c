package setup

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	synclinev1 "syncline/proto/syncline/v1"
)

// maxRules bounds a table: it is replaced as a whole, and the kernel answers for every
// rule of it into one socket buffer of tableBuffer bytes, some 1000 an answer.
const (
	maxRules    = 256
	tableBuffer = 1 << 20
)

// chainOf is where the kernel looks at the packets of a rule.
func chainOf(c *synclinev1.FirewallChange) *nftables.Chain {
	in := c.GetHook() == synclinev1.FirewallChange_HOOK_IN
	chain := &nftables.Chain{Name: "in", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter}
	switch {
	case c.GetRedirectPort() != 0 && in:
		*chain = nftables.Chain{Name: "redirect-in", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest}
	case c.GetRedirectPort() != 0:
		*chain = nftables.Chain{Name: "redirect-out", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest}
	case c.GetMasqueradePort() != 0 && in:
		*chain = nftables.Chain{Name: "masquerade-in", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityNATSource}
	case c.GetMasqueradePort() != 0:
		*chain = nftables.Chain{Name: "masquerade-out", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource}
	case !in:
		chain.Name, chain.Hooknum = "out", nftables.ChainHookOutput
	}
	return chain
}

func (h *Host) prepareFirewall(t Target, c *synclinev1.FirewallChange) (plan, error) {
	if err := checkRule(c); err != nil {
		return plan{}, err
	}
	if len(h.rules(nil)) >= maxRules {
		return plan{}, fmt.Errorf("%d rules of the firewall stand on this host, which is the limit", maxRules)
	}
	r := &rule{change: c, target: t}
	if _, err := r.expressions(); err != nil {
		return plan{}, err
	}
	if err := mayFilter(); err != nil {
		return plan{}, err
	}
	p := plan{saved: []saved{{key: key{Kind: kindTable, Name: h.table}}}, rule: r}
	idle, err := idleTimeouts(c)
	if err != nil {
		return plan{}, err
	}
	for _, s := range idle {
		old, err := readSysctl(s.GetName())
		if err != nil {
			return plan{}, fmt.Errorf("the idle timeout of connection tracking (kernel module nf_conntrack): %w", err)
		}
		p.saved = append(p.saved, saved{key: key{Kind: kindSysctl, Name: s.GetName()}, Old: []string{old}})
	}
	p.make = func() error {
		if err := h.setTable(h.table, h.rules(nil)); err != nil {
			return err
		}
		for _, s := range idle {
			if err := writeSysctl(s.GetName(), s.GetValue()); err != nil {
				return err
			}
		}
		return nil
	}
	return p, nil
}

// mayFilter asks for the list of tables, which takes the same privilege as to change
// one. Without it not even the absence of a table could be seen to when undoing.
func mayFilter() error {
	c, err := nftables.New()
	if err == nil {
		_, err = c.ListTables()
	}
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		err = fmt.Errorf("%w: %w (kernel module nf_tables)", err, ErrUnsupported)
	}
	if err != nil {
		return fmt.Errorf("list the nftables tables: %w", err)
	}
	return nil
}

// checkRule refuses what cannot be asked of a packet, before the kernel would say
// EINVAL.
func checkRule(c *synclinev1.FirewallChange) error {
	hasPorts := c.GetProtocol() == unix.IPPROTO_TCP || c.GetProtocol() == unix.IPPROTO_UDP
	nat := c.GetRedirectPort() != 0 || c.GetMasqueradePort() != 0
	switch {
	case c.GetHook() != synclinev1.FirewallChange_HOOK_IN && c.GetHook() != synclinev1.FirewallChange_HOOK_OUT:
		return fmt.Errorf("hook %v: in or out is needed", c.GetHook())
	case c.GetProtocol() > 255:
		return fmt.Errorf("protocol %d: at most 255", c.GetProtocol())
	case c.GetRedirectPort() != 0 && c.GetMasqueradePort() != 0:
		return errors.New("a rule rewrites the destination port or the source port, not both")
	case max(c.GetPort(), c.GetSourcePort(), c.GetRedirectPort(), c.GetMasqueradePort()) > 65535:
		return errors.New("a port is at most 65535")
	case (c.GetPort() != 0 || c.GetSourcePort() != 0 || nat) && !hasPorts:
		return errors.New("only tcp and udp have ports")
	case c.GetMask() != 0 && c.GetProtocol() != unix.IPPROTO_TCP:
		return errors.New("only tcp has flags such as SYN")
	case max(c.GetFlags(), c.GetMask()) > 0x1ff || c.GetFlags()&^c.GetMask() != 0:
		return fmt.Errorf("TCP flags %#x of %#x: nine flags at most, those of the mask only", c.GetFlags(), c.GetMask())
	case c.GetIcmpType() > 255:
		return fmt.Errorf("ICMP type %d: at most 255", c.GetIcmpType())
	case c.GetRejectWith() == "tcp-reset" && c.GetProtocol() != unix.IPPROTO_TCP:
		return errors.New("only tcp can be answered with a reset")
	case !nat && c.GetAction() == synclinev1.FirewallChange_ACTION_UNSPECIFIED:
		return errors.New("the rule says neither drop nor reject nor accept")
	case c.GetIdleTimeoutNs() < 0 || c.GetIdleTimeoutNs()%int64(time.Second) != 0:
		return fmt.Errorf("idle timeout %v: the kernel counts it in whole seconds", time.Duration(c.GetIdleTimeoutNs()))
	case c.GetIdleTimeoutNs() != 0 && !hasPorts:
		return errors.New("an idle timeout is of tcp or udp")
	}
	return nil
}

// idleTimeouts are the sysctls that say how long connection tracking remembers. They
// are of the network namespace, whatever the port.
func idleTimeouts(c *synclinev1.FirewallChange) ([]*synclinev1.SysctlChange, error) {
	if c.GetIdleTimeoutNs() == 0 {
		return nil, nil
	}
	names := []string{"net.netfilter.nf_conntrack_tcp_timeout_established"}
	if c.GetProtocol() == unix.IPPROTO_UDP {
		names = []string{"net.netfilter.nf_conntrack_udp_timeout", "net.netfilter.nf_conntrack_udp_timeout_stream"}
	}
	seconds := strconv.FormatInt(c.GetIdleTimeoutNs()/int64(time.Second), 10)
	var all []*synclinev1.SysctlChange
	for _, name := range names {
		all = append(all, &synclinev1.SysctlChange{Name: name, Value: seconds})
	}
	return all, nil
}

// rules lists those that stand but that of one change, in the order in which a chain
// is to have them.
func (h *Host) rules(but *entry) []*rule {
	var all []*rule
	for _, e := range h.ledger.entries {
		if e.rule != nil && e != but {
			all = append(all, e.rule)
		}
	}
	slices.SortStableFunc(all, func(a, b *rule) int {
		switch {
		case a.batch > b.batch:
			return -1
		case a.batch < b.batch:
			return 1
		}
		return 0
	})
	return all
}

// setTable replaces the table of this name as a whole, in one transaction of the
// kernel: a packet meets all the old rules or all the new ones. No rules: no table.
func (h *Host) setTable(name string, rules []*rule) error {
	c, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetReadBuffer(tableBuffer) }))
	if err != nil {
		return fmt.Errorf("open an nftables connection: %w", err)
	}
	table := &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
	// Added first, so that there is one to delete.
	c.AddTable(table)
	c.DelTable(table)
	if len(rules) > 0 {
		c.AddTable(table)
		if err := fill(c, table, rules); err != nil {
			return err
		}
	}
	err = c.Flush()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("set the nftables table %s: %w: %w (kernel modules nf_tables, and for the rules: %v)", name, err, ErrUnsupported, modules(rules))
	}
	return fmt.Errorf("set the nftables table %s: %w", name, err)
}

// modules are those of the kernel that rules need beyond nf_tables.
func modules(rules []*rule) []string {
	var all []string
	for _, r := range rules {
		if r.change.GetAction() == synclinev1.FirewallChange_ACTION_REJECT {
			all = append(all, "nft_reject_inet")
		}
		if r.tracks() {
			all = append(all, "nf_conntrack", "nft_ct")
		}
		if r.rewrites() {
			all = append(all, "nft_nat", "nft_chain_nat")
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (r *rule) rewrites() bool {
	return r.change.GetRedirectPort() != 0 || r.change.GetMasqueradePort() != 0
}

// tracks reports whether the rule makes the kernel track connections.
func (r *rule) tracks() bool {
	return r.rewrites() || len(r.change.GetStates()) > 0 || r.change.GetIdleTimeoutNs() != 0
}

// fill makes only the chains that have a rule: a NAT chain alone makes the kernel
// track every connection.
func fill(c *nftables.Conn, table *nftables.Table, rules []*rule) error {
	chains := map[string]*nftables.Chain{}
	accept := nftables.ChainPolicyAccept
	for _, r := range rules {
		chain := chainOf(r.change)
		chain.Table, chain.Policy = table, &accept
		if chains[chain.Name] == nil {
			chains[chain.Name] = c.AddChain(chain)
			for _, guard := range guards(rules, r.change.GetHook()) {
				c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: guard})
			}
		}
		expressions, err := r.expressions()
		if err != nil {
			return err
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: expressions})
	}
	return nil
}

// guards let the agent's own connections to its controllers through.
func guards(rules []*rule, hook synclinev1.FirewallChange_Hook) [][]expr.Any {
	var seen []netip.AddrPort
	var all [][]expr.Any
	for _, r := range rules {
		controller := r.target.Controller
		if !controller.IsValid() || slices.Contains(seen, controller) {
			continue
		}
		seen = append(seen, controller)
		end := source
		if hook == synclinev1.FirewallChange_HOOK_OUT {
			end = destination
		}
		guard := append(matchProtocol(unix.IPPROTO_TCP), matchAddress(end, netip.PrefixFrom(controller.Addr().Unmap(), controller.Addr().Unmap().BitLen()))...)
		guard = append(guard, matchPort(end, controller.Port())...)
		all = append(all, append(guard, &expr.Verdict{Kind: expr.VerdictAccept}))
	}
	return all
}

// restoreTable sets the table to the rules of the changes that stand but e. The kernel
// then forgets the connections that a rule made it track, so that none is rewritten or
// judged by what it was.
func (h *Host) restoreTable(name string, e *entry) error {
	var rules []*rule
	if name == h.table {
		rules = h.rules(e)
	}
	if err := h.setTable(name, rules); err != nil {
		return err
	}
	return h.forgetFlows(e)
}
