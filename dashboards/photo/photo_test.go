//go:build !race

package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"testing"
)

// corner is a picture that is white but for its upper left quarter, which is red.
func corner(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{255, 255, 255, 255}
			if x < w/2 && y < h/2 {
				c = color.RGBA{200, 0, 0, 255}
			}
			m.SetRGBA(x, y, c)
		}
	}
	return m
}

// withExif is a JPEG file with an Exif block: orientation, and a position that
// nobody may learn.
func withExif(t *testing.T, m image.Image, order binary.ByteOrder, orientation uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	tiff := []byte("II*\x00")
	if order == binary.BigEndian {
		tiff = []byte("MM\x00*")
	}
	app, ok := order.(binary.AppendByteOrder)
	if !ok {
		t.Fatalf("%v cannot append", order)
	}
	tiff = app.AppendUint32(tiff, 8)
	tiff = app.AppendUint16(tiff, 2)
	tiff = app.AppendUint16(app.AppendUint32(app.AppendUint16(app.AppendUint16(tiff, 0x010F), 2), 4), 0) // maker
	tiff = append(tiff, 0, 0)
	tiff = app.AppendUint16(app.AppendUint32(app.AppendUint16(app.AppendUint16(tiff, 0x0112), 3), 1), orientation)
	tiff = append(tiff, 0, 0)
	tiff = append(tiff, "GPS 6.98 S 110.41 E"...)
	block := append([]byte("Exif\x00\x00"), tiff...)
	file := append([]byte{0xFF, 0xD8, 0xFF, 0xE1}, binary.BigEndian.AppendUint16(nil, uint16(len(block)+2))...)
	return append(append(file, block...), b.Bytes()[2:]...)
}

func red(t *testing.T, file []byte) (quarter string, size image.Point) {
	t.Helper()
	m, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	size = m.Bounds().Size()
	for name, at := range map[string]image.Point{"upper left": {1, 1}, "upper right": {3, 1}, "lower left": {1, 3}, "lower right": {3, 3}} {
		if _, g, _, _ := m.At(size.X*at.X/4, size.Y*at.Y/4).RGBA(); g < 0x8000 {
			quarter += name
		}
	}
	return quarter, size
}

func TestAPhotoStandsUprightAndTellsNothing(t *testing.T) {
	// Where the upper left quarter of what is stored is seen, by Exif's orientation.
	for orientation, want := range []string{0: "upper left", 1: "upper left", 2: "upper right", 3: "lower right", 4: "lower left", 5: "upper left", 6: "upper right", 7: "lower right", 8: "lower left", 9: "upper left"} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			file := withExif(t, corner(240, 160), order, uint16(orientation))
			out, err := Clean(file)
			if err != nil {
				t.Fatalf("orientation %d: %v", orientation, err)
			}
			got, size := red(t, out)
			wide := orientation < 5 || orientation > 8
			if got != want || wide != (size == image.Pt(240, 160)) {
				t.Errorf("orientation %d: red is %s of %v, want %s", orientation, got, size, want)
			}
			if bytes.Contains(out, []byte("Exif")) || bytes.Contains(out, []byte("GPS")) {
				t.Errorf("orientation %d: the metadata are still there", orientation)
			}
		}
	}
}

func TestAPhotoIsMadeSmall(t *testing.T) {
	var b bytes.Buffer
	if err := png.Encode(&b, corner(3000, 1500)); err != nil {
		t.Fatal(err)
	}
	out, err := Clean(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if quarter, size := red(t, out); size != image.Pt(Edge, Edge/2) || quarter != "upper left" {
		t.Errorf("%v, red %s", size, quarter)
	}
}

func TestWhatIsNoPhotoIsRefused(t *testing.T) {
	bomb := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	bomb = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(bomb, 100_000), 100_000)
	bomb = append(bomb, 8, 6, 0, 0, 0)
	bomb = binary.BigEndian.AppendUint32(bomb, 0) // its check sum is wrong, too
	var good bytes.Buffer
	if err := png.Encode(&good, corner(40, 40)); err != nil {
		t.Fatal(err)
	}
	huge := bytes.Clone(good.Bytes())
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"nothing": {nil, ErrFormat}, "a page": {[]byte("<svg onload=alert(1)>"), ErrFormat}, "a picture cut off": {good.Bytes()[:60], ErrFormat},
		"a large file": {make([]byte, MaxFile+1), ErrLarge}, "a bomb": {bomb, ErrFormat}, "an endless picture": {oversized(huge), ErrLarge},
	} {
		if out, err := Clean(c.file); !errors.Is(err, c.want) {
			t.Errorf("%s: %d bytes, %v, want %v", name, len(out), err, c.want)
		}
	}
}

// oversized makes a PNG claim 60,000 × 60,000 pixels, with a right check sum.
func oversized(file []byte) []byte {
	binary.BigEndian.PutUint32(file[16:], 60_000)
	binary.BigEndian.PutUint32(file[20:], 60_000)
	binary.BigEndian.PutUint32(file[29:], crc32.ChecksumIEEE(file[12:29]))
	return file
}

func FuzzOrientation(f *testing.F) {
	f.Add([]byte("\xff\xd8\xff\xe1\x00\x20Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, file []byte) { orientation(file) })
}
