package chunk

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// encoder and decoder work on whole slices in the goroutine that calls them:
// with a concurrency of 1 they own no goroutine, and a pool of their state is kept
// by the package that makes them. EncodeAll and DecodeAll may be called
// concurrently.
var (
	encoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil,
			zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderLevel(zstd.SpeedBetterCompression),
			zstd.WithWindowSize(maxBody),
			zstd.WithEncoderCRC(true),
			zstd.WithSingleSegment(true))
		if err != nil {
			panic("chunk: options of the zstd encoder: " + err.Error())
		}
		return e
	})
	decoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(maxBody),
			zstd.WithDecoderMaxWindow(maxBody))
		if err != nil {
			panic("chunk: options of the zstd decoder: " + err.Error())
		}
		return d
	})
)

// seal puts the header before the compressed body.
func seal(body []byte) []byte {
	out := make([]byte, 0, headerSize+len(body)/2)
	out = append(out, magic...)
	out = append(out, Version)
	return encoder().EncodeAll(body, out)
}

// unseal checks the header and returns the body, of at most maxBody bytes, and the
// version of its format. The body is behind what is in room already, and in its memory if it fits.
func unseal(data, room []byte) (body []byte, version byte, err error) {
	if len(data) > MaxBytes {
		return nil, 0, fmt.Errorf("%w: %d bytes, more than %d", ErrDamaged, len(data), MaxBytes)
	}
	if len(data) < headerSize || string(data[:len(magic)]) != magic {
		return nil, 0, fmt.Errorf("%w: it does not begin with %q", ErrDamaged, magic)
	}
	version = data[len(magic)]
	if version < oldest || version > Version {
		return nil, 0, fmt.Errorf("%w: format version %d, and this program reads %d to %d; use the version that wrote it, or a newer one",
			ErrDamaged, version, oldest, Version)
	}
	body, err = decoder().DecodeAll(data[headerSize:], room)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: decompress: %w", ErrDamaged, err)
	}
	return body, version, nil
}
