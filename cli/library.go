package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller/experiment"
)

func (a *app) libraryCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "library",
		Short: "List the scenarios that come with syncline",
		Long: `List the scenarios that come with syncline, by topic, with what each needs of its
hosts. The class says what a scenario rests on: P plain sockets; T two things that
must happen within a fraction of a one-way delay, which takes several tries; C the
configuration of a host (a sysctl, a firewall rule, a route, a process killed).

Run one with: syncline demo NAME, or on your own hosts: syncline run NAME`,
		Example: `  syncline library
  syncline library show connect-refused
  syncline demo connect-refused`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.listLibrary(output) },
	}
	formatFlag(c, &output, "table", "name", "json")
	c.AddCommand(&cobra.Command{
		Use:     "show NAME",
		Short:   "Print the file of a scenario",
		Example: "  syncline library show basic-open-close > mine.yaml",
		Args:    oneArgument("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			source, ok := experiment.Open(args[0])
			if !ok {
				return &exitError{code: exitUsage, err: noSuchScenario(args[0])}
			}
			_, err := a.Out.Write(source)
			return err
		},
	})
	return c
}

// scenario is a scenario as JSON.
type scenario struct {
	Name     string   `json:"name"`
	Topic    string   `json:"topic"`
	Class    string   `json:"class"`
	Needs    []string `json:"needs"`
	About    string   `json:"about"`
	Remember string   `json:"remember"`
	Refs     []string `json:"refs"`
}

func (a *app) listLibrary(output string) error {
	all := experiment.Library()
	switch output {
	case "name":
		for _, s := range all {
			fmt.Fprintln(a.Out, s.Name)
		}
		return nil
	case "json":
		list := []scenario{}
		for _, s := range all {
			list = append(list, scenario{s.Name, s.Topic, s.Class, append([]string{}, s.Needs...), s.About, s.Remember, s.Refs})
		}
		e := json.NewEncoder(a.Out)
		e.SetIndent("", "  ")
		return e.Encode(list)
	case "table":
		return a.libraryTable(all)
	}
	return unknownFormat(output, "table", "name", "json")
}

// libraryTable lists the scenarios by topic; each with the sentence to remember.
func (a *app) libraryTable(all []experiment.Scenario) error {
	_, width := terminal(a.Out)
	draw := a.drawing(a.Out, ladderOptions{})
	slices.SortStableFunc(all, func(x, y experiment.Scenario) int { return strings.Compare(x.Topic, y.Topic) })
	column := 0
	for _, s := range all {
		column = max(column, len(s.Name))
	}
	for i, s := range all {
		if i == 0 || all[i-1].Topic != s.Topic {
			if i > 0 {
				fmt.Fprintln(a.Out)
			}
			fmt.Fprintln(a.Out, s.Topic)
		}
		needs := ""
		if len(s.Needs) > 0 {
			needs = " (needs " + strings.Join(s.Needs, ", ") + ")"
		}
		lead := fmt.Sprintf("  %-*s %s  ", column, s.Name, s.Class)
		indent := strings.Repeat(" ", len(lead))
		for j, line := range draw.wrapAt(s.Remember+needs, max(20, width-len(lead))) {
			if j > 0 {
				lead = indent
			}
			fmt.Fprintln(a.Out, strings.TrimRight(lead+line, " "))
		}
	}
	return nil
}

func (a *app) schemaCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "schema",
		Short: "Print schemas that editors and scripts use",
	}
	c.AddCommand(&cobra.Command{
		Use:   "experiment",
		Short: "The JSON Schema of an experiment file",
		Long: `Print the JSON Schema of an experiment file. Editors that speak to
yaml-language-server complete and check with it when the file begins with

  # yaml-language-server: $schema=experiment.schema.json`,
		Example: "  syncline schema experiment > experiment.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.Out.Write(experiment.Schema())
			return err
		},
	})
	return c
}

// languageTopic is `syncline help language`: not a command, so it only has a text.
func languageTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "language",
		Short: "The language of experiment files",
		Long:  experiment.Reference(),
	}
}
