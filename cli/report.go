package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller/web"
	synclinev1 "syncline/proto/syncline/v1"
)

// reportOptions say to where a page is written.
type reportOptions struct {
	to    string
	force bool
}

func (o *reportOptions) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.to, "to", "", "the file, "+pageSuffix+"; - is standard output")
	c.Flags().BoolVar(&o.force, "force", false, "replace a file that is there")
}

// pageSuffix is what the name of a page ends in.
const pageSuffix = ".html"

func (a *app) reportCommand() *cobra.Command {
	var opts reportOptions
	c := &cobra.Command{
		Use:   "report RUN...",
		Short: "Write runs to one file that a browser shows: for a colleague, a paper, a student",
		Long: `Write runs to one page of HTML that a browser shows without a server: the ladder of
every repetition, the events, the clocks, the statistics of the phases. The file has
all that it needs and asks nobody for anything. It opens on the repetition that is
most worth a look: one that failed, else the one that is least like the others.

RUN is a run of the controller or the path of a bundle; RUN@REP takes that repetition
alone. Several runs are put into one page, to compare them.`,
		Example: `  syncline report r-7f3c2a10 --to report.html
  syncline report before.syncline after.syncline --to compare.html
  syncline report r-7f3c2a10@17 --to failed.html`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("report needs RUN: the id of a run (syncline get runs) or the path of a bundle")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := opts.check(a); err != nil {
				return err
			}
			return a.makeReport(c.Context(), args, opts)
		},
	}
	opts.flags(c)
	return c
}

func (o *reportOptions) check(a *app) error {
	switch o.to {
	case "":
		return usage("--to FILE%s says where the page is to be; - is standard output", pageSuffix)
	case "-":
		if is, _ := terminal(a.Out); is {
			return usage("--to -: standard output is a terminal, and a page is for a browser; give a file, or send it to another program")
		}
		return nil
	}
	return checkTo(o.to, o.force, pageSuffix)
}

// makeReport makes the page of some runs and writes it.
func (a *app) makeReport(ctx context.Context, args []string, opts reportOptions) error {
	subjects, err := a.subjects(ctx, args)
	defer func() {
		for _, s := range subjects {
			s.close()
		}
	}()
	if err != nil {
		return err
	}
	command := append(append([]string{"syncline", "report"}, args...), "--to", opts.to)
	page, err := a.page(ctx, subjects, shellCommand(command...))
	if err != nil {
		return err
	}
	return a.writePage(page, opts)
}

// subjects finds what each RUN[@REP] names. The caller closes those that are returned, also
// with an error.
func (a *app) subjects(ctx context.Context, args []string) ([]*subject, error) {
	var subjects []*subject
	for _, arg := range args {
		s, err := a.subject(ctx, arg)
		if err != nil {
			return subjects, err
		}
		subjects = append(subjects, s)
	}
	return subjects, nil
}

// writePage writes a finished page to where it is to be.
func (a *app) writePage(page *web.Page, opts reportOptions) error {
	size, err := a.writeTo(opts.to, opts.force, func(w io.Writer) error { return web.Write(w, page) })
	if err != nil || opts.to == "-" {
		return err
	}
	repetitions := 0
	for i := range page.Runs {
		repetitions += len(page.Runs[i].Repetitions)
	}
	fmt.Fprintf(a.Err, "%s: %s of %s, %s; open it in a browser\n", opts.to, howMany(repetitions, "repetition"), howMany(len(page.Runs), "run"), byteText(size))
	return nil
}

// howMany is a number with its noun.
func howMany(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// byteText is a size as people say it.
func byteText(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1_000_000:
		return fmt.Sprintf("%d KB", (n+500)/1_000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// checkTo refuses a place that cannot be written to before any work is done, and a name
// that promises another format.
func checkTo(to string, force bool, suffixes ...string) error {
	switch info, err := os.Lstat(to); {
	case err == nil && info.IsDir():
		return usage("--to %s is a directory: name a file in it, %s", to, filepath.Join(to, "report"+suffixes[0]))
	case !slices.ContainsFunc(suffixes, func(suffix string) bool { return strings.EqualFold(filepath.Ext(to), suffix) }):
		return usage("--to %s: the name is to end in %s, which says what is written", to, strings.Join(suffixes, ", "))
	}
	return checkPlace(to, force)
}

// writeTo writes a file, or standard output if to is "-", and returns its size. A file is
// there as a whole or not at all.
func (a *app) writeTo(to string, force bool, write func(io.Writer) error) (size int64, err error) {
	if to == "-" {
		// What is not whole is not sent either: who reads a pipe cannot tell.
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return 0, err
		}
		_, err := b.WriteTo(a.Out)
		return int64(b.Len()), err
	}
	return newFile(to, force, func(f *os.File) error {
		w := bufio.NewWriterSize(f, 256<<10)
		return errors.Join(write(w), w.Flush())
	})
}

// checkDemo refuses a place that cannot be written to before a lab is made.
func (o *reportOptions) checkDemo() error {
	switch {
	case o.to == "" && o.force:
		return usage("--force is about a file, and there is none; --to FILE%s names one", pageSuffix)
	case o.to == "":
		return nil
	case o.to == "-":
		return usage("--to -: standard output has the ladder and the verdicts; give a file")
	}
	return checkTo(o.to, o.force, pageSuffix)
}

// demoPage writes the page of a run that a demo made, if it is wanted.
func (a *app) demoPage(ctx context.Context, cl *client, run *synclinev1.Run, file string, opts reportOptions) error {
	if opts.to == "" {
		return nil
	}
	s := &subject{client: cl, id: run.Id, name: run.Id}
	page, err := a.page(ctx, []*subject{s}, shellCommand("syncline", "demo", file, "--to", opts.to))
	if err != nil {
		return err
	}
	return a.writePage(page, opts)
}
