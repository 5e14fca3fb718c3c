package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller"
	"syncline/controller/archive"
)

// keepOptions say how much a controller keeps, and where the rest goes.
type keepOptions struct {
	archive, quota, cache string
}

func (o *keepOptions) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.archive, "archive", "", "bucket for runs that leave the controllers' disks, as Parquet and as bundles: file:///DIRECTORY or s3://BUCKET?region=REGION (keys as the AWS tools take them)")
	c.Flags().StringVar(&o.quota, "quota", "", "how much all runs together may take on the disk of one controller, as in 20GB or 20GiB; above it the sealed run that ended first goes into the archive, or is removed if there is none (default: no limit)")
	c.Flags().StringVar(&o.cache, "archive-cache", "1GiB", "how much of archived runs that somebody looked at is kept at hand")
}

// into makes the options those of a controller.
func (o *keepOptions) into(cfg *controller.Config) error {
	if o.archive != "" {
		if err := archive.CheckURL(o.archive); err != nil {
			return usage("--archive: %w", err)
		}
		cfg.Archive = o.archive
	}
	if o.quota != "" {
		n, err := parseSize(o.quota)
		if err != nil {
			return usage("--quota %s: %w", o.quota, err)
		}
		cfg.Quota = n
	}
	n, err := parseSize(o.cache)
	if err != nil {
		return usage("--archive-cache %s: %w", o.cache, err)
	}
	cfg.CacheBytes = int64(n)
	return nil
}

// sizes are the units of bytes: of a thousand, and of 1024.
var sizes = []struct {
	unit string
	of   uint64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// parseSize reads a number of bytes, at least one.
func parseSize(text string) (uint64, error) {
	for _, s := range sizes {
		number, ok := strings.CutSuffix(text, s.unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 63)
		if err != nil || n == 0 || n > math.MaxInt64/s.of {
			break
		}
		return n * s.of, nil
	}
	return 0, fmt.Errorf("write a whole number of bytes, or of kB, MB, GB, TB (a thousand each) or KiB, MiB, GiB, TiB (1024 each), as in 20GiB")
}
