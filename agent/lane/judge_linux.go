package lane

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	synclinev1 "syncline/proto/syncline/v1"
)

// judge compares a call with the outcome its author named, or with success if none was
// named; received are the bytes it brought back. It returns "" if the outcome was met.
// The end of the repetition meets none.
func judge(step *synclinev1.Step, c *synclinev1.Call, received []byte) string {
	if met(step.GetOutcome(), c, received) {
		return ""
	}
	return "expected " + expected(step) + ", got " + got(step, c, received)
}

func met(o *synclinev1.Outcome, c *synclinev1.Call, received []byte) bool {
	success := c.EndedBy == synclinev1.EndedBy_ENDED_BY_KERNEL && c.Errno == 0
	switch {
	case o == nil || success && o.Ok:
		return success
	case success:
		return slices.Contains(o.Values, c.Result) ||
			slices.ContainsFunc(o.Data, func(d []byte) bool { return c.Result >= 0 && bytes.Equal(d, received) })
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_TIMEOUT:
		return o.Timeout
	}
	return c.Errno != 0 && slices.Contains(o.Errnos, c.Errno)
}

// expected shows an outcome the way the experiment writes it.
func expected(step *synclinev1.Step) string {
	o := step.GetOutcome()
	if o == nil {
		return "success"
	}
	var parts []string
	if o.Ok {
		parts = append(parts, "ok")
	}
	for _, v := range o.Values {
		parts = append(parts, formatResult(step, v))
	}
	for _, d := range o.Data {
		parts = append(parts, formatData(d))
	}
	for _, e := range o.Errnos {
		parts = append(parts, errnoName(e))
	}
	if o.Timeout {
		parts = append(parts, "timeout")
	}
	return strings.Join(parts, " or ")
}

func got(step *synclinev1.Step, c *synclinev1.Call, received []byte) string {
	partly := ""
	if c.Result > 0 {
		partly = fmt.Sprintf(" after %d bytes", c.Result)
	}
	switch {
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_TIMEOUT:
		return fmt.Sprintf("timeout (%v)%s", time.Duration(step.GetTimeoutNs()), partly)
	case c.EndedBy == synclinev1.EndedBy_ENDED_BY_CANCEL:
		return "the end of the repetition" + partly
	case c.Errno != 0:
		return fmt.Sprintf("%s (%v)", errnoName(c.Errno), syscall.Errno(c.Errno))
	case len(step.GetOutcome().GetData()) > 0:
		return formatData(received)
	}
	return formatResult(step, c.Result)
}

// formatResult shows a result as experiments write it: the events of a poll by their
// names, the value of an option that is an errno by its name, else a number.
func formatResult(step *synclinev1.Step, v int64) string {
	switch c := step.GetCall().(type) {
	case *synclinev1.Step_Poll:
		if v >= 0 {
			return maskNames(pollEvents, uint32(v))
		}
	case *synclinev1.Step_Getsockopt:
		if c.Getsockopt.GetKind() == synclinev1.OptionKind_OPTION_KIND_ERRNO && v > 0 {
			return errnoName(uint32(v))
		}
	}
	return strconv.FormatInt(v, 10)
}

// formatData shows bytes as a text in quotes if they are one, else as hex digits; the
// beginning of them if they are many.
func formatData(b []byte) string {
	cut := ""
	if len(b) > MaxReported {
		b, cut = b[:MaxReported], fmt.Sprintf(" … %d bytes", len(b))
	}
	if isText(b) {
		return strconv.Quote(string(b)) + cut
	}
	return fmt.Sprintf("hex(%x)", b) + cut
}

// isText reports whether a person can read the bytes.
func isText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool {
		return !unicode.IsPrint(r) && r != '\n' && r != '\r' && r != '\t'
	})
}
