package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller/experiment"
	"syncline/controller/export"
)

func (a *app) validateCommand() *cobra.Command {
	var expand bool
	var opts runOptions
	c := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check experiment files, without a controller",
		Long: `Check experiment files, without a controller. Every error of every file is shown,
with its place. --expand writes out what a file comes to: its variants, and every
expectation with the ready-made ones as what they stand for.`,
		Example: `  syncline validate handshake.yaml
  syncline validate basic-open-close        a scenario of the library
  syncline validate handshake.yaml --expand`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &exitError{code: exitUsage, err: errors.New("validate which file? Try: syncline validate FILE")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := opts.check(c); err != nil {
				return err
			}
			bad := 0
			for _, arg := range args {
				exp, _, err := a.readExperiment(arg, opts.plan())
				if err != nil {
					bad++
					if err := a.sayInvalid(err); err != nil {
						return err
					}
					continue
				}
				if err := a.sayValid(arg, exp, expand); err != nil {
					return err
				}
			}
			if bad > 0 {
				return &exitError{code: exitUsage}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&expand, "expand", false, "write out variants and expectations")
	c.Flags().StringArrayVar(&opts.sets, "set", nil, "NAME=VALUE, another value for a variable of the file; may be repeated")
	return c
}

// sayValid says what a file without errors comes to.
func (a *app) sayValid(arg string, exp *experiment.Experiment, expand bool) error {
	variants := ""
	if n := len(exp.Variants); n > 1 {
		variants = fmt.Sprintf(", %d variants", n)
	}
	fmt.Fprintf(a.Out, "%s: %s: %d hosts, %d lanes, %d expectations%s: valid\n", arg, exp.Name, len(exp.Hosts), len(exp.Lanes), len(exp.Expect), variants)
	if !expand {
		return nil
	}
	for v := range exp.Variants {
		e, err := exp.At(v, 1)
		if err != nil {
			return err
		}
		if name := exp.Variants[v].Name; name != "" {
			fmt.Fprintf(a.Out, "\n%s\n", name)
		}
		for _, line := range e.Expanded() {
			fmt.Fprintf(a.Out, "  - %s\n", line)
		}
	}
	return nil
}

// sayInvalid prints what is wrong with one file and goes on to the next; any other
// error is returned.
func (a *app) sayInvalid(err error) error {
	var e *exitError
	if !errors.As(err, &e) {
		return err
	}
	fmt.Fprintln(a.Err, strings.TrimSpace(e.Error()))
	return nil
}

// readExperiment reads and checks a file, "-" for standard input, or a scenario of
// the library by its name. The options say what is changed of it.
func (a *app) readExperiment(arg string, opts experiment.Options) (*experiment.Experiment, []byte, error) {
	source, err := a.readSource(arg)
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err}
	}
	if export.IsBundle(source) {
		return nil, nil, usage("%s is the bundle of a run and no experiment; the one it was of: unzip -p %[1]s experiment.yaml > FILE", arg)
	}
	opts.FileName = arg
	exp, err := experiment.Parse(source, opts)
	var all experiment.Errors
	if errors.As(err, &all) {
		_, width := terminal(a.Err)
		count := fmt.Sprintf("%d errors", len(all))
		if len(all) == 1 {
			count = "1 error"
		}
		return nil, nil, &exitError{code: exitUsage, err: fmt.Errorf("%s\n%s", strings.TrimRight(all.Render(arg, source, width), "\n"), count)}
	}
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err}
	}
	return exp, source, nil
}

func (a *app) readSource(arg string) ([]byte, error) {
	if arg == "-" {
		return readLimited(a.In, "standard input")
	}
	f, err := os.Open(arg)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(arg, "/.") {
		if source, ok := experiment.Open(arg); ok {
			return source, nil
		}
		return nil, noSuchScenario(arg)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, arg)
}

func noSuchScenario(name string) error {
	var names []string
	for _, e := range experiment.Library() {
		names = append(names, e.Name)
	}
	hint := "; `syncline library` lists them"
	if near := experiment.Closest(name, names); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	return fmt.Errorf("no file %s, and no scenario of that name in the library%s", name, hint)
}

// readLimited reads one byte more than the language allows, so that the parser is
// the one to say what the limit is.
func readLimited(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, experiment.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %s", name, plainCause(err))
	}
	return b, nil
}
