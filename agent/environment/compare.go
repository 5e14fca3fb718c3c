package environment

import (
	"slices"
	"strings"

	synclinev1 "syncline/proto/syncline/v1"
)

// Row is one setting of several hosts.
type Row struct {
	Name string
	// Settings are in the order of the hosts; nil where a host did not tell it.
	Settings []*synclinev1.Environment_Setting
	// Differs is set if hosts that told their environment told different things. What
	// is different on any two hosts, or at any two looks, as a boot id or a load, never
	// differs in this sense.
	Differs bool
}

// Table is a section of several hosts.
type Table struct {
	// Name is the section's. The interfaces of the hosts are paired in their order:
	// "interface eth0" if they have one name, "interface eth0 / ens3" if not.
	Name string
	Rows []Row
}

// Compare lays the environments of several hosts side by side: sections and settings
// in the order in which the hosts first tell them. A host that told nothing is nil, and
// differs from nobody. It is pure.
func Compare(hosts []*synclinev1.Environment) []Table {
	var tables []*comparison
	find := func(key string) *comparison {
		i := slices.IndexFunc(tables, func(c *comparison) bool { return c.key == key })
		if i < 0 {
			tables = append(tables, &comparison{key: key, rows: map[string][]*synclinev1.Environment_Setting{}})
			i = len(tables) - 1
		}
		return tables[i]
	}
	for h, env := range hosts {
		for i, s := range env.GetSections() {
			find(sectionKey(env, i)).add(h, len(hosts), s)
		}
	}
	var all []Table
	for _, c := range tables {
		all = append(all, c.table(hosts))
	}
	return all
}

// sectionKey is equal for the sections that are laid side by side.
func sectionKey(env *synclinev1.Environment, i int) string {
	name := env.Sections[i].GetName()
	if !strings.HasPrefix(name, sectionInterface) {
		return name
	}
	n := 0
	for _, s := range env.Sections[:i] {
		if strings.HasPrefix(s.GetName(), sectionInterface) {
			n++
		}
	}
	return sectionInterface + strings.Repeat("+", n)
}

// comparison is a table on its way.
type comparison struct {
	key string
	// names are those the hosts gave the section, settings theirs in order.
	names, settings []string
	rows            map[string][]*synclinev1.Environment_Setting
}

func (c *comparison) add(host, hosts int, s *synclinev1.Environment_Section) {
	if !slices.Contains(c.names, s.GetName()) {
		c.names = append(c.names, s.GetName())
	}
	for _, setting := range s.GetSettings() {
		row := c.rows[setting.GetName()]
		if row == nil {
			row = make([]*synclinev1.Environment_Setting, hosts)
			c.rows[setting.GetName()] = row
			c.settings = append(c.settings, setting.GetName())
		}
		row[host] = setting
	}
}

func (c *comparison) table(hosts []*synclinev1.Environment) Table {
	name := c.names[0]
	for _, other := range c.names[1:] {
		name += " / " + strings.TrimPrefix(other, sectionInterface)
	}
	t := Table{Name: name}
	for _, setting := range c.settings {
		row := Row{Name: setting, Settings: c.rows[setting]}
		row.Differs = !everChanging(c.names[0], setting) && differ(hosts, row.Settings)
		t.Rows = append(t.Rows, row)
	}
	return t
}

// differ compares what was told by the hosts that told anything at all.
func differ(hosts []*synclinev1.Environment, row []*synclinev1.Environment_Setting) bool {
	var first *synclinev1.Environment_Setting
	seen := false
	for h, s := range row {
		if hosts[h] == nil {
			continue
		}
		if !seen {
			first, seen = s, true
			continue
		}
		if s.GetValue() != first.GetValue() || s.GetFailure() != first.GetFailure() {
			return true
		}
	}
	return false
}

// everChanging are the settings that say who a host is or what it does right now: they
// are different on any two hosts or at any two looks, and explain nothing by that.
func everChanging(section, name string) bool {
	switch section {
	case sectionLoad:
		return true
	case sectionKernel:
		return name == "boot id" || name == "host name"
	case sectionClock:
		return slices.Contains([]string{"offset", "frequency", "maximum error", "estimated error"}, name)
	case sectionProcess:
		return strings.HasPrefix(name, "namespace ")
	}
	return false
}
