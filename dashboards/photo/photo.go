// Package photo makes a picture that somebody uploads fit to keep and to show.
//
// It promises that what it returns is a JPEG of its own making: upright, at most
// Edge pixels a side, and without anything else that the file held, above all the
// position where it was taken; and that a file cannot take more memory by what it
// claims to be.
package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	_ "image/png" // one of the two formats that are taken

	"golang.org/x/image/draw"
)

// Limits of what is taken, and of what is made.
const (
	MaxFile   = 8 << 20 // bytes of a file
	maxPixels = 25_000_000
	Edge      = 1280 // pixels of the longer side
	quality   = 80
)

// What a file may be refused for.
var (
	ErrFormat = errors.New("no JPEG or PNG picture")
	ErrLarge  = fmt.Errorf("larger than %d MB or %d megapixels", MaxFile>>20, maxPixels/1_000_000)
)

// Clean decodes a JPEG or PNG file and encodes what is seen of it anew. It wraps
// ErrFormat or ErrLarge for what it does not take.
func Clean(file []byte) ([]byte, error) {
	if len(file) > MaxFile {
		return nil, ErrLarge
	}
	head, format, err := image.DecodeConfig(bytes.NewReader(file))
	switch {
	case err != nil || head.Width < 1 || head.Height < 1:
		return nil, fmt.Errorf("%w: %v", ErrFormat, err) //nolint:errorlint // the decoder's own words, nobody asks for its errors
	case head.Width > maxPixels/head.Height:
		return nil, ErrLarge
	}
	whole, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrFormat, err) //nolint:errorlint // as above
	}
	size := whole.Bounds().Size()
	if longer := max(size.X, size.Y); longer > Edge {
		size = image.Pt(max(1, size.X*Edge/longer), max(1, size.Y*Edge/longer))
	}
	small := image.NewRGBA(image.Rectangle{Max: size})
	draw.Draw(small, small.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src) // behind what is transparent
	draw.CatmullRom.Scale(small, small.Bounds(), whole, whole.Bounds(), draw.Over, nil)
	if format == "jpeg" {
		small = upright(small, orientation(file))
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: quality}); err != nil {
		return nil, fmt.Errorf("write a picture: %w", err)
	}
	return out.Bytes(), nil
}

// upright turns and mirrors a picture as Exif's orientation says (CIPA DC-008,
// tag 0x0112): which side of what is stored is the top, and which the left.
func upright(in *image.RGBA, orientation uint16) *image.RGBA {
	size := in.Bounds().Size()
	w, h := size.X, size.Y
	var from func(x, y int) (int, int) // where a point of the upright picture is stored
	switch orientation {
	case 2:
		from = func(x, y int) (int, int) { return w - 1 - x, y }
	case 3:
		from = func(x, y int) (int, int) { return w - 1 - x, h - 1 - y }
	case 4:
		from = func(x, y int) (int, int) { return x, h - 1 - y }
	case 5:
		from = func(x, y int) (int, int) { return y, x }
	case 6:
		from = func(x, y int) (int, int) { return y, h - 1 - x }
	case 7:
		from = func(x, y int) (int, int) { return w - 1 - y, h - 1 - x }
	case 8:
		from = func(x, y int) (int, int) { return w - 1 - y, x }
	default:
		return in
	}
	if orientation >= 5 {
		size = image.Pt(h, w)
	}
	out := image.NewRGBA(image.Rectangle{Max: size})
	for y := range size.Y {
		for x := range size.X {
			out.SetRGBA(x, y, in.RGBAAt(from(x, y)))
		}
	}
	return out
}

// orientation finds Exif's orientation in a JPEG file; 1, which is upright, if it
// says none or is damaged.
func orientation(file []byte) uint16 {
	for at := 2; at+4 <= len(file) && file[at] == 0xFF; { // segments: marker, length, content
		marker, length := file[at+1], int(binary.BigEndian.Uint16(file[at+2:]))
		if marker == 0xDA || length < 2 || at+2+length > len(file) { // the picture itself begins
			break
		}
		if content, ok := bytes.CutPrefix(file[at+4:at+2+length], []byte("Exif\x00\x00")); ok && marker == 0xE1 {
			return ofTIFF(content)
		}
		at += 2 + length
	}
	return 1
}

// ofTIFF reads tag 0x0112 of the first directory of a TIFF block.
func ofTIFF(b []byte) uint16 {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case len(b) < 8:
		return 1
	case bytes.HasPrefix(b, []byte("MM")):
		order = binary.BigEndian
	}
	at := int64(order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return 1
	}
	entries := b[at+2:]
	for range order.Uint16(b[at:]) {
		if len(entries) < 12 {
			break
		}
		if order.Uint16(entries) == 0x0112 {
			return order.Uint16(entries[8:])
		}
		entries = entries[12:]
	}
	return 1
}
