package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller/store"
)

// restoreOptions say what a cluster is made of again, and where.
type restoreOptions struct {
	dir, id, from, output string
	incomplete            bool
}

func (a *app) clusterRestoreCommand() *cobra.Command {
	var opts restoreOptions
	c := &cobra.Command{
		Use:   "restore [FILE]",
		Short: "Make a new cluster of a snapshot, or of what is left of a controller",
		Long: `Make a new cluster of one controller, offline, in an empty directory: of a FILE that
syncline cluster snapshot wrote; or, with --from-data, of the data directory of a
controller that is left when a majority of its cluster is lost for ever. Start it then,
and let the others join with empty directories. For a cluster that has its majority
it is not needed: a lost controller is removed, and another one joins.

What was acknowledged after the snapshot, or without the controller that is left, is
lost. Runs that were at work fail, with the reason. Never start a controller of the old
cluster again: agents could not tell the two apart. So the new one needs a name that none
of the old ones had, or a new authority (syncline pki init), where all names are free.`,
		Example: `  syncline cluster restore lab.backup --tls-cert ctl4.crt --data /var/lib/syncline
  syncline cluster restore --from-data old --tls-cert ctl4.crt --data /var/lib/syncline`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 0) == (opts.from == "") {
				return usage("restore of what? Give the FILE of a snapshot, or --from-data DIR")
			}
			if err := checkFormat(opts.output, doneFormats...); err != nil {
				return err
			}
			return a.restoreCluster(c.Context(), args, opts)
		},
	}
	nodeFlags(c, &opts.dir, &opts.id)
	formatFlag(c, &opts.output, doneFormats...)
	c.Flags().StringVar(&opts.from, "from-data", "", "data directory of a controller that is left, instead of a file")
	c.Flags().BoolVar(&opts.incomplete, "incomplete", false, "remove runs of which events are missing, instead of giving up")
	return c
}

func (a *app) restoreCluster(ctx context.Context, file []string, opts restoreOptions) error {
	node, cluster, err := a.nodeName(opts.id)
	if err != nil {
		return err
	}
	p := a.copying("restored")
	cfg := store.RestoreConfig{Dir: opts.dir, Node: node, Cluster: cluster, Incomplete: opts.incomplete, Progress: p.at, Log: logger(a.Err)}
	var got store.Restored
	if opts.from != "" {
		got, err = store.RestoreData(ctx, opts.from, cfg)
	} else {
		got, err = restoreFile(ctx, file[0], cfg)
	}
	p.end()
	var known *exitError
	switch {
	case errors.As(err, &known):
		return err
	case err != nil && ctx.Err() != nil:
		return &exitError{code: exitInterrupted, err: errors.New("interrupted; " + opts.dir + " is empty again")}
	case errors.Is(err, store.ErrMissing):
		return &exitError{code: exitInconclusive, err: fmt.Errorf("%w\nTo do without these runs, which stay in the list: --incomplete", err)}
	case errors.Is(err, store.ErrDamaged):
		return &exitError{code: exitInconclusive, err: err}
	case err != nil:
		return &exitError{code: exitRefused, err: err}
	}
	return a.sayRestored(got, opts.dir, opts.output)
}

func restoreFile(ctx context.Context, name string, cfg store.RestoreConfig) (store.Restored, error) {
	f, err := os.Open(name)
	if err != nil {
		return store.Restored{}, usage("open the snapshot: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return store.Restored{}, err
	}
	if !info.Mode().IsRegular() {
		return store.Restored{}, usage("open the snapshot %s: it is no regular file", name)
	}
	return store.Restore(ctx, io.NewSectionReader(&interruptible{ctx, f}, 0, info.Size()), cfg)
}

func (a *app) sayRestored(r store.Restored, dir, output string) error {
	line := fmt.Sprintf("cluster %s begins again\nwith node %s in %s: %s, %s, as node %s had them",
		r.Cluster, r.Node, dir, numbered(int(r.From.Runs), "run", "runs"), numbered(int(r.From.Chunks-r.From.Missing), "chunk", "chunks"), onTerminal(r.From.Node))
	done := clusterRestored{
		Cluster: r.Cluster, Node: r.Node, Data: dir, From: r.From.Node, Runs: r.From.Runs, Chunks: r.From.Chunks - r.From.Missing, Unfinished: r.Unfinished,
	}
	for _, l := range r.Lost {
		done.Lost = append(done.Lost, runLost{Run: l.RunID, Missing: l.Missing, Chunks: l.Chunks})
	}
	err := writeDone(a.Out, output, line, done)
	for _, l := range r.Lost {
		fmt.Fprintf(a.Err, "syncline: warning: run %s is removed: %d of its %d chunks are missing\n", onTerminal(l.RunID), l.Missing, l.Chunks)
	}
	if len(r.Unfinished) > 0 {
		fmt.Fprintf(a.Err, "to know: these runs were at work, and fail when the controller starts:\n  %s\n", onTerminal(strings.Join(r.Unfinished, ", ")))
	}
	fmt.Fprintln(a.Err, "Never start a controller of the old cluster again.")
	a.sayServe(dir, "HOST:PORT")
	return err
}
