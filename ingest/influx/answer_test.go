package influx

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func rowsIn(text string) (out []string, err error) {
	err = readAnswer(strings.NewReader(text), func(name string, columns []string, row []cell) error {
		out = append(out, fmt.Sprint(name, columns, row))
		return nil
	})
	return out, err
}

const twoChunks = `{"results":[{"statement_id":0,"series":[{"name":"air","tags":{"a":"b"},"columns":["time","x","s"],"values":[[1,-2.5e-3,"q\"\u00e9\ud83d\ude00\n"],[2,null,true]],"partial":true}],"partial":true}]}
{"results":[{"statement_id":0,"messages":[{"level":"warning","text":"w"}],"series":[{"name":"air","columns":["time","x","s"],"values":[[3,false,""]]}]}]}
`

func TestAnswers(t *testing.T) {
	got, err := rowsIn(twoChunks)
	want := []string{"air[time x s a] [{1 1} {1 -2.5e-3} {2 q\"é😀\n} {2 b}]", "air[time x s a] [{1 2} {0 null} {3 true} {2 b}]", "air[time x s] [{1 3} {4 false} {2 }]"}
	for i := range want {
		// Words carry no text.
		want[i] = strings.NewReplacer("{0 null}", "{0 }", "{3 true}", "{3 }", "{4 false}", "{4 }").Replace(want[i])
	}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	for _, text := range []string{`{"results":[{"statement_id":0,"error":"database not found: x"}]}`, `{"error":"database not found: x"}`,
		twoChunks + `{"results":[{"statement_id":0,"error":"database not found: x"}]}`} {
		if _, err := rowsIn(text); !errors.Is(err, ErrQuery) || !strings.Contains(err.Error(), "not found: x") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for n := 1; n < len(twoChunks)-2; n++ { // an answer that is cut short is never a short answer
		first := strings.IndexByte(twoChunks, '\n')
		if n == first || n == first+1 {
			continue // between two chunks only the transport knows
		}
		if _, err := rowsIn(twoChunks[:n]); err == nil {
			t.Fatalf("cut after %d bytes: no error", n)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(twoChunks)
	f.Add(`{"error":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		_ = readAnswer(strings.NewReader(text), func(string, []string, []cell) error { return nil })
	})
}
