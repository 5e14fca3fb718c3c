package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// formatFlag adds -o; the first format is the default.
func formatFlag(c *cobra.Command, to *string, formats ...string) {
	c.Flags().StringVarP(to, "output", "o", formats[0], "format: "+strings.Join(formats, ", "))
}

func unknownFormat(got string, formats ...string) error {
	return &exitError{code: exitUsage, err: fmt.Errorf("no output format %q; there are: %s", got, strings.Join(formats, ", "))}
}

// checkFormat refuses a format that there is not, before anything is done.
func checkFormat(got string, formats ...string) error {
	if !slices.Contains(formats, got) {
		return unknownFormat(got, formats...)
	}
	return nil
}

// writeJSON writes one message. The spacing of protojson changes from build to
// build on purpose, so it is set again here.
func writeJSON(w io.Writer, m proto.Message, indent bool) error {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if indent {
		err = json.Indent(&b, raw, "", "  ")
	} else {
		err = json.Compact(&b, raw)
	}
	if err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

// age is how long ago a moment of CLOCK_REALTIME was, shortly.
func age(ns int64, now time.Time) string {
	if ns == 0 {
		return "never"
	}
	d := now.Sub(time.Unix(0, ns))
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}
