package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"syncline/controller/store"
	synclinev1 "syncline/proto/syncline/v1"
)

func (a *app) clusterSnapshotCommand() *cobra.Command {
	var force, incomplete bool
	var output string
	c := &cobra.Command{
		Use:   "snapshot FILE",
		Short: "Write all that the cluster keeps to a file",
		Long: `Write all that the cluster keeps to a file, as it is at one moment, with the events of
all runs: for the day on which a majority of the controllers is lost for ever. It holds
nobody up. What is in an archive stays there, and the file says where. A controller that
has lost the majority gives what it has with --stale.

The file has its name only when it is whole and was read back. Its owner alone may
read it: events of every run are in it. See: syncline cluster restore`,
		Example: `  syncline cluster snapshot lab.backup
  syncline cluster snapshot --force /mnt/backup/lab.backup`,
		Args: oneArgument("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkFormat(output, doneFormats...); err != nil {
				return err
			}
			if err := checkPlace(args[0], force); err != nil {
				return err
			}
			return a.ask(c.Context(), func(cl *client) error {
				return a.snapshotCluster(c.Context(), cl, args[0], output, force, incomplete)
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	formatFlag(c, &output, doneFormats...)
	c.Flags().BoolVar(&incomplete, "incomplete", false, "leave out events that are damaged on every controller, instead of giving up")
	return c
}

func (a *app) snapshotCluster(ctx context.Context, cl *client, name, output string, force, incomplete bool) error {
	var b store.Backup
	size, err := newFile(name, force, func(f *os.File) error {
		if err := f.Chmod(0o600); err != nil {
			return err
		}
		if err := a.receiveBackup(ctx, cl, f, incomplete); err != nil {
			return err
		}
		var err error
		b, err = a.readBackup(ctx, f, "checked")
		return err
	})
	if err != nil {
		return err
	}
	line := fmt.Sprintf("cluster %s is in %s\n%s, %s, %d bytes", onTerminal(b.Cluster), name, numbered(int(b.Runs), "run", "runs"), numbered(int(b.Chunks-b.Missing), "chunk", "chunks"), size)
	err = writeDone(a.Out, output, line, snapshotWritten{Cluster: b.Cluster, File: name, Runs: b.Runs, Chunks: b.Chunks - b.Missing, Missing: b.Missing, Bytes: size})
	if b.Missing > 0 {
		fmt.Fprintf(a.Err, "syncline: warning: %s left out, since no controller has them whole\n", numbered(int(b.Missing), "chunk", "chunks"))
	}
	fmt.Fprintf(a.Err, "next, when all is lost: %s\n", shellCommand("syncline", "cluster", "restore", name, "--data", "DIR"))
	return err
}

// receiveBackup writes what the controller sends.
func (a *app) receiveBackup(ctx context.Context, cl *client, to io.Writer, incomplete bool) error {
	stream, err := cl.cluster.SnapshotCluster(ctx, &synclinev1.SnapshotClusterRequest{Incomplete: incomplete})
	if err != nil {
		return answered(err)
	}
	p := a.copying("received")
	defer p.end()
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if status.Code(err) == codes.DataLoss && !incomplete {
			return &exitError{code: exitInconclusive, err: fmt.Errorf("%s\nA controller that was away may have it when it is back: try again. To do without: --incomplete", status.Convert(err).Message())}
		}
		if err != nil {
			return answered(err)
		}
		if _, err := to.Write(m.Data); err != nil {
			return fmt.Errorf("write the backup: %w", err)
		}
		p.at(m.DoneBytes, m.TotalBytes)
	}
}

// readBackup reads a backup to its end, from its beginning.
func (a *app) readBackup(ctx context.Context, f *os.File, verb string) (store.Backup, error) {
	info, err := f.Stat()
	if err != nil {
		return store.Backup{}, err
	}
	p := a.copying(verb)
	defer p.end()
	b, err := store.CheckBackup(io.NewSectionReader(&interruptible{ctx, f}, 0, info.Size()), p.at)
	if err != nil && ctx.Err() != nil {
		return b, &exitError{code: exitInterrupted, err: errors.New("interrupted while what was written was read back")}
	}
	if err != nil {
		return b, &exitError{code: exitInconclusive, err: fmt.Errorf("read back what was written: %w", err)}
	}
	return b, nil
}

// copying is a line that says how much of all chunks is done.
type copying struct {
	progress
	verb string
}

func (a *app) copying(verb string) *copying {
	live, _ := terminal(a.Err)
	return &copying{progress: progress{w: a.Err, live: live}, verb: verb}
}

func (c *copying) at(done, all uint64) {
	if all > 0 {
		c.line(fmt.Sprintf("%s %.1f of %.1f MB of chunks, %d%%", c.verb, float64(done)/1e6, float64(all)/1e6, 100*done/all))
	}
}
