package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"syncline/agent"
	"syncline/agent/environment"
	synclinev1 "syncline/proto/syncline/v1"
)

// doctorSchema names the form of what `syncline doctor -o json` prints.
const doctorSchema = "syncline.doctor/1"

// checkup is what doctor found on a host.
type checkup struct {
	sources  []*synclinev1.Capability
	features []*synclinev1.Feature
	// unknown says what of features could not be found out, nil if all was.
	unknown     error
	findings    []environment.Finding
	environment *synclinev1.Environment
}

func (a *app) doctorCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what can be seen on this host, and what disturbs it",
		Long: `Say what an agent started here, as this user, could see and do, why not what it
could not, and what to do about it; and what on this host disturbs times. It needs no
controller and sends nothing. It changes nothing but one thing: asked for nftables, the
kernel may load its module nf_tables.

Exit: 0 every source can be had and nothing is refused, 1 something cannot or is.
What only disturbs times is noted and changes no exit code; so is what only those
experiments miss that name it under needs.`,
		Example: `  syncline doctor
  sudo syncline doctor -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if output != "text" && output != "json" {
				return unknownFormat(output, "text", "json")
			}
			found, err := examine()
			if err != nil {
				return &exitError{code: exitFailed, err: err}
			}
			if output == "json" {
				err = a.writeCheckup(found)
			} else {
				s := newSheet(a.Out)
				describeCheckup(s, found)
				err = s.to(a.Out)
			}
			if err == nil && found.lacking() > 0 {
				return &exitError{code: exitFailed}
			}
			return err
		},
	}
	formatFlag(c, &output, "text", "json")
	return c
}

// examine looks at this host as the agent would.
func examine() (*checkup, error) {
	sources := agent.Capabilities()
	if len(sources) == 0 {
		return nil, errors.New("an agent runs on Linux only, so there is nothing to examine here; the other commands of syncline work")
	}
	features, unknown := agent.Features()
	cfg := environment.Config{Version: Version}
	var err error
	if cfg.Interfaces, err = environment.Interfaces(); err != nil {
		cfg.InterfacesFailure = err.Error()
	}
	env := environment.Read(cfg)
	return &checkup{sources, features, unknown, environment.Diagnose(env), env}, nil
}

// lacking counts what cannot be had on the host.
func (c *checkup) lacking() int {
	n := 0
	for _, s := range c.sources {
		if !s.Available {
			n++
		}
	}
	for _, f := range c.findings {
		if f.Grade == environment.Lacking {
			n++
		}
	}
	return n
}

// describeCheckup writes the table: a mark, what was looked at, what was found, and
// below it what to do.
func describeCheckup(s *sheet, c *checkup) {
	const at = 20
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	s.line("%s, as user %d", host, os.Geteuid())
	s.blank()
	s.line("sources")
	// Several sources often lack the same: it is said once.
	said := map[string]string{}
	for _, x := range c.sources {
		name := sourceName(x.Source)
		if x.Available {
			s.item("  ✓ "+name, at, "can be had")
			continue
		}
		why := x.Reason + "\n" + x.Remedy
		if first, ok := said[why]; ok {
			s.item("  ✗ "+name, at, "for the same reason as "+first)
			continue
		}
		said[why] = name
		s.item("  ✗ "+name, at, orUnknown(x.Reason))
		remedy(s, at, x.Remedy)
	}
	notes := describeFeatures(s, at, c.features, c.unknown)
	s.blank()
	s.line("host")
	marks := map[environment.Grade]string{environment.Fine: "✓", environment.Note: "!", environment.Lacking: "✗"}
	for _, f := range c.findings {
		s.item("  "+marks[f.Grade]+" "+f.Name, at, f.Said)
		remedy(s, at, f.Remedy)
		if f.Grade == environment.Note {
			notes++
		}
	}
	s.blank()
	s.line("%s; %s", numbered(c.lacking(), "thing is lacking (✗)", "things are lacking (✗)"), numbered(notes, "thing to note (!)", "things to note (!)"))
}

// describeFeatures writes what experiments may need by name, and counts what is not here:
// an experiment that needs it is refused, and no other misses it. What could not be found
// out is noted too, and no experiment is refused for it.
func describeFeatures(s *sheet, at int, features []*synclinev1.Feature, unknown error) (notes int) {
	s.blank()
	s.line("what experiments may need")
	for _, f := range features {
		if f.Available {
			s.item("  ✓ "+f.Name, at, "can be had")
			continue
		}
		s.item("  ! "+f.Name, at, "an experiment that needs it is refused: "+orUnknown(f.Reason))
		remedy(s, at, f.Remedy)
		notes++
	}
	if unknown != nil {
		for line := range strings.Lines(unknown.Error()) {
			s.item("  !", at, strings.TrimSpace(line))
			notes++
		}
	}
	return notes
}

func remedy(s *sheet, at int, text string) {
	if text != "" {
		s.item("", at, "→ "+text)
	}
}

// numbered is "nothing", "1 thing", "2 things".
func numbered(n int, singular, plural string) string {
	switch n {
	case 0:
		return "no " + plural
	case 1:
		return "1 " + singular
	}
	return fmt.Sprintf("%d %s", n, plural)
}

// writeCheckup writes what was found as one JSON value.
func (a *app) writeCheckup(c *checkup) error {
	type source struct {
		Source    string `json:"source"`
		Available bool   `json:"available"`
		Reason    string `json:"reason,omitempty"`
		Remedy    string `json:"remedy,omitempty"`
	}
	type feature struct {
		Name      string `json:"name"`
		Available bool   `json:"available"`
		Reason    string `json:"reason,omitempty"`
		Remedy    string `json:"remedy,omitempty"`
	}
	type finding struct {
		Name   string            `json:"name"`
		Grade  environment.Grade `json:"grade"`
		Said   string            `json:"said"`
		Remedy string            `json:"remedy,omitempty"`
	}
	report := struct {
		Schema      string          `json:"schema"`
		Lacking     int             `json:"lacking"`
		Sources     []source        `json:"sources"`
		Features    []feature       `json:"features"`
		Unknown     string          `json:"unknown_features,omitempty"`
		Findings    []finding       `json:"findings"`
		Environment json.RawMessage `json:"environment"`
	}{Schema: doctorSchema, Lacking: c.lacking()}
	for _, x := range c.sources {
		report.Sources = append(report.Sources, source{sourceName(x.Source), x.Available, x.Reason, x.Remedy})
	}
	for _, f := range c.features {
		report.Features = append(report.Features, feature{f.Name, f.Available, f.Reason, f.Remedy})
	}
	if c.unknown != nil {
		report.Unknown = c.unknown.Error()
	}
	for _, f := range c.findings {
		report.Findings = append(report.Findings, finding(f))
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(c.environment)
	if err != nil {
		return err
	}
	report.Environment = raw
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(report)
}
