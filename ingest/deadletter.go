package ingest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Letter is a dead letter: a message, or some of its records, that could not be
// stored. It carries all that a retry needs.
type Letter struct {
	Key      string          `json:"key"` // journal position, and the first of its records if it is not the whole message
	Reason   Reason          `json:"reason"`
	Error    string          `json:"error"`
	Node     telemetry.Node  `json:"node"`
	Pos      Position        `json:"position"`
	Topic    string          `json:"topic"`
	Client   string          `json:"client"`
	Session  uint64          `json:"session"`
	Received int64           `json:"received"` // Unix nanoseconds UTC
	Flags    uint8           `json:"flags"`    // envelope.Flags
	Payload  []byte          `json:"payload"`
	Birth    *LetterBirth    `json:"birth,omitempty"`   // by which it is to be decoded
	Records  []int           `json:"records,omitempty"` // places within the message; none = all
	Epoch    telemetry.Epoch `json:"epoch,omitempty"`   // of Numbers
	Numbers  [][2]uint64     `json:"numbers,omitempty"` // record numbers in it, as inclusive stretches
	Lines    []string        `json:"lines,omitempty"`   // the points that the database refused
}

// LetterBirth is the birth that a dead letter carries.
type LetterBirth struct {
	Device   string   `json:"device,omitempty"`
	Pos      Position `json:"position"`
	Received int64    `json:"received"`
	Payload  []byte   `json:"payload"`
}

// newLetter makes a letter of the message m: the whole of it, or its records at
// the places records. It copies nothing: journal entries and births are kept by
// who holds them.
func newLetter(m *Message, reason Reason, err error, records []int) Letter {
	l := Letter{
		Key: m.Pos.String(), Reason: reason, Error: err.Error(), Node: m.Node, Pos: m.Pos, Topic: m.Packet.Topic, Client: m.Packet.Client,
		Session: m.Packet.Session, Received: m.Packet.Received, Flags: uint8(m.Packet.Flags), Payload: m.Packet.Payload, Records: records,
	}
	if m.Birth != nil && m.Birth.Birth != nil {
		l.Birth = &LetterBirth{Device: m.Birth.Device, Pos: m.Birth.Pos, Received: m.Birth.Received, Payload: m.Birth.Raw}
	}
	if len(records) > 0 {
		l.Key += "-" + strconv.Itoa(records[0])
	}
	if !m.Numbered {
		return l
	}
	l.Epoch = m.Run.Epoch
	if len(records) == 0 {
		l.Numbers = [][2]uint64{{m.Run.First, m.Run.First + m.Run.Count - 1}}
	}
	for _, r := range records {
		l.addNumber(m.Run.First + uint64(r))
	}
	return l
}

func (l *Letter) addNumber(n uint64) {
	if k := len(l.Numbers); k > 0 && l.Numbers[k-1][1]+1 == n {
		l.Numbers[k-1][1] = n
		return
	}
	l.Numbers = append(l.Numbers, [2]uint64{n, n})
}

// packet returns the packet as it lay in the journal.
func (l *Letter) packet() *envelope.Packet {
	return &envelope.Packet{Received: l.Received, Client: l.Client, Session: l.Session, Flags: envelope.Flags(l.Flags), Topic: l.Topic, Payload: l.Payload}
}

// encode writes the letter as it lies in the key-value store.
func (l *Letter) encode() ([]byte, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("write dead letter %s: %w", l.Key, err)
	}
	return b, nil
}

func decodeLetter(key string, b []byte) (Letter, error) {
	var l Letter
	if err := json.Unmarshal(b, &l); err != nil {
		return Letter{}, fmt.Errorf("read dead letter %s: %w", key, err)
	}
	return l, nil
}

// sortLetters puts letters into journal order.
func sortLetters(all []Letter) {
	slices.SortFunc(all, func(a, b Letter) int {
		return cmp.Or(cmp.Compare(a.Pos.Seq, b.Pos.Seq), cmp.Compare(a.Pos.Index, b.Pos.Index), strings.Compare(a.Key, b.Key))
	})
}
