package cli

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) getCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "get agents|runs",
		Short: "List agents or runs",
		Example: `  syncline get agents
  syncline get runs -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{code: exitUsage, err: fmt.Errorf("get what? There are: agents, runs")}
		},
	}
	c.AddCommand(a.getAgentsCommand(), a.getRunsCommand())
	return c
}

func (a *app) getAgentsCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "agents",
		Short: "List the machines of the lab",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.ask(c.Context(), func(cl *client) error {
				list, err := cl.agents.ListAgents(c.Context(), &synclinev1.ListAgentsRequest{})
				if err != nil {
					return answered(err)
				}
				return writeItems(a, output, list, list.Agents, (*synclinev1.Agent).GetName, a.agentTable)
			})
		},
	}
	formatFlag(c, &output, "table", "name", "json", "ndjson")
	return c
}

// writeItems writes a list of messages in one of the formats of `get`.
func writeItems[M proto.Message](a *app, output string, whole proto.Message, items []M, name func(M) string, table func([]M) error) error {
	switch output {
	case "table":
		return table(items)
	case "json":
		return writeJSON(a.Out, whole, true)
	case "ndjson":
		for _, m := range items {
			if err := writeJSON(a.Out, m, false); err != nil {
				return err
			}
		}
		return nil
	case "name":
		for _, m := range items {
			if _, err := fmt.Fprintln(a.Out, name(m)); err != nil {
				return err
			}
		}
		return nil
	}
	return unknownFormat(output, "table", "name", "json", "ndjson")
}

func (a *app) agentTable(agents []*synclinev1.Agent) error {
	if len(agents) == 0 {
		fmt.Fprintf(a.Err, "no agents yet; on each machine: syncline agent serve --controller HOST:PORT --tls-cert FILE --label role=client\n")
		return nil
	}
	t := tabwriter.NewWriter(a.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tADDRESS\tKERNEL\tSOURCES\tLABELS\tLAST SEEN")
	for _, g := range agents {
		state := enumWord(g.State.String(), "AGENT_STATE_")
		if g.TestClock != "" {
			state += ", test clock"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Name, state,
			first(g.Addresses), g.Kernel, sources(g.Capabilities), labels(g.Labels), age(g.LastSeenNs, time.Now()))
	}
	return t.Flush()
}

// enumWord is how people read a value of an enumeration: RUN_STATE_SEALED is
// "sealed".
func enumWord(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

func first(all []string) string {
	if len(all) == 0 {
		return "-"
	}
	return all[0]
}

// sources says what an agent can see: all there is, or what it cannot.
func sources(all []*synclinev1.Capability) string {
	var missing []string
	for _, c := range all {
		if !c.Available {
			missing = append(missing, strings.ReplaceAll(enumWord(c.Source.String(), "SOURCE_"), "_", "-"))
		}
	}
	if len(missing) == 0 {
		return "all"
	}
	return "no " + strings.Join(missing, ", ")
}

func labels(all map[string]string) string {
	var pairs []string
	for k, v := range all {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

func (a *app) getRunsCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "runs",
		Short: "List runs, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.ask(c.Context(), func(cl *client) error {
				list, err := cl.runs.ListRuns(c.Context(), &synclinev1.ListRunsRequest{})
				if err != nil {
					return answered(err)
				}
				return writeItems(a, output, list, list.Runs, (*synclinev1.Run).GetId, a.runTable)
			})
		},
	}
	formatFlag(c, &output, "table", "name", "json", "ndjson")
	return c
}

// runWord is the state of a run, and where its events went if they did.
func runWord(r *synclinev1.Run) string {
	word := enumWord(r.State.String(), "RUN_STATE_")
	switch {
	case r.Removal != nil:
		return word + ", removed"
	case r.Archive != nil:
		return word + ", archived"
	}
	return word
}

func (a *app) runTable(runs []*synclinev1.Run) error {
	if len(runs) == 0 {
		fmt.Fprintln(a.Err, "no runs yet; try: syncline run basic-open-close")
		return nil
	}
	t := tabwriter.NewWriter(a.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "RUN\tEXPERIMENT\tSTATE\tREPETITIONS\tEVENTS\tBYTES\tSTARTED\tREASON")
	for _, r := range runs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d/%d\t%d\t%d\t%s\t%s\n", r.Id, r.Experiment, runWord(r),
			r.RepetitionsDone, r.Repetitions, r.Events, r.Bytes, age(r.CreatedNs, time.Now()), r.Reason)
	}
	return t.Flush()
}
