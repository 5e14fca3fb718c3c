package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller"
	"syncline/controller/export"
	synclinev1 "syncline/proto/syncline/v1"
)

// bundleFormat is the one format of export so far.
const bundleFormat = "bundle"

// exportOptions say as what a run is exported, and to where.
type exportOptions struct {
	format, to string
	force      bool
}

func (a *app) exportCommand() *cobra.Command {
	var opts exportOptions
	c := &cobra.Command{
		Use:   "export RUN",
		Short: "Write a run to a file, to look at it again without a controller",
		Long: `Write a run that is over to a file. A bundle holds all that is needed to look at the
run again, without a controller and on any system: its experiment, what its hosts were
like, every event as it was stored. Every command that looks takes its path in the
place of RUN: syncline ladder f.syncline@3.

A bundle is a zip archive, and the same run gives the same bytes. Before it gets its
name it is read back, and its events are held against the run's seal.`,
		Example: `  syncline export r-7f3c2a10 --to refused.syncline
  syncline ladder refused.syncline@3
  syncline export r-7f3c2a10 --to - | ssh desk 'cat > refused.syncline'`,
		Args: oneArgument("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			if opts.format != bundleFormat {
				return usage("--format %s: there is: %s", opts.format, bundleFormat)
			}
			if err := opts.check(a); err != nil {
				return err
			}
			return a.lookWhole(c.Context(), args[0], func(s *subject) error {
				return a.export(c.Context(), s, opts)
			})
		},
	}
	c.Flags().StringVar(&opts.format, "format", bundleFormat, "what to write: "+bundleFormat)
	c.Flags().StringVar(&opts.to, "to", "", "the file; - is standard output (default: RUN"+export.BundleSuffix+")")
	c.Flags().BoolVar(&opts.force, "force", false, "replace a file that is there")
	return c
}

// check refuses a place that cannot be written to before anything is asked. Where --to is
// left out, the name follows from the run.
func (o *exportOptions) check(a *app) error {
	switch is, _ := terminal(a.Out); {
	case o.to == "" || o.to == "-" && !is:
		return nil
	case o.to == "-":
		return usage("--to -: a bundle is no text, and standard output is a terminal; give a file, or send it to another program")
	}
	return checkPlace(o.to, o.force)
}

func (a *app) export(ctx context.Context, s *subject, opts exportOptions) error {
	if opts.to == "-" {
		out := bufio.NewWriterSize(a.Out, 256<<10)
		if err := s.download(ctx, out); err != nil {
			return err
		}
		return out.Flush()
	}
	to := opts.to
	if to == "" {
		to = s.id + export.BundleSuffix
		if err := checkPlace(to, opts.force); err != nil {
			return err
		}
	}
	if !strings.HasSuffix(to, export.BundleSuffix) {
		fmt.Fprintf(a.Err, "to know: the name %s does not end in %s; commands will still know it by what is in it\n", to, export.BundleSuffix)
	}
	size, err := newFile(to, opts.force, func(f *os.File) error {
		if err := s.download(ctx, f); err != nil {
			return err
		}
		return readBack(ctx, f)
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "run %s is in %s, %d bytes\n", s.id, to, size)
	fmt.Fprintf(a.Err, "next: %s\n", shellCommand("syncline", "open", to))
	return err
}

// download writes the bundle of the run as whoever has it sends it.
func (s *subject) download(ctx context.Context, w io.Writer) error {
	stream, err := s.runs.ExportRun(ctx, &synclinev1.ExportRunRequest{RunId: s.id})
	if err != nil {
		return answered(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return answered(err)
		}
		if _, err := w.Write(m.Data); err != nil {
			return fmt.Errorf("write the bundle of run %s: %w", s.id, err)
		}
	}
}

// readBack opens what was written as any reader will.
func readBack(ctx context.Context, f *os.File) error {
	info, err := f.Stat()
	if err == nil {
		_, err = controller.OpenArchive(&interruptible{ctx, f}, info.Size(), Version)
	}
	if err != nil && ctx.Err() != nil {
		return &exitError{code: exitInterrupted, err: errors.New("interrupted while what was written was read back")}
	}
	if err != nil {
		return &exitError{code: exitInconclusive, err: fmt.Errorf("read back what was written: %w", err)}
	}
	return nil
}

// takenError says that a file is there that nobody said to replace.
func takenError(name string) error {
	return &exitError{code: exitRefused, err: fmt.Errorf("%s is there already: give another name, or --force to replace it", name)}
}

// replaceable refuses to put a file in the place of a directory, a device, a socket or a pipe.
// A link is replaced itself, and what it leads to stays.
func replaceable(name string, is os.FileInfo) error {
	switch {
	case is.IsDir():
		return usage("%s is a directory: name a file in it", name)
	case !is.Mode().IsRegular() && is.Mode().Type() != os.ModeSymlink:
		return usage("%s is no regular file (%s): give another name", name, is.Mode().Type())
	}
	return nil
}

// newFile makes a file of what write puts into it, and returns its size. The file has its
// name only once it is whole and on the disk: it is written beside its place under another
// name, which is gone after an error. A file that is there is replaced if force says so.
func newFile(name string, force bool, write func(*os.File) error) (size int64, err error) {
	taken := takenError(name)
	if info, err := os.Lstat(name); err == nil {
		if err := replaceable(name, info); err != nil {
			return 0, err
		}
		if !force {
			return 0, taken
		}
	}
	f, err := makeBeside(name)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err == nil {
		size, err = f.Seek(0, io.SeekEnd)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	if force {
		return size, os.Rename(f.Name(), name)
	}
	// link(2) does not replace a file that came to be meanwhile, as rename(2) would; not
	// every file system has it.
	switch err = os.Link(f.Name(), name); {
	case err == nil:
		return size, os.Remove(f.Name())
	case errors.Is(err, os.ErrExist):
		return 0, taken
	}
	return size, os.Rename(f.Name(), name)
}
