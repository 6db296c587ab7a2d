package api

import (
	"time"

	"github.com/pantau-id/pantau/internal/figures"
)

// The types of the answers. Their doc tags are the words of the document and the
// reference page; times are in WIB.

// List is one page of a list.
type List[T record] struct {
	Data []T    `json:"data" doc:"The page's rows, in a fixed order"`
	Next string `json:"next,omitempty" format:"uri-reference" doc:"Address of the next page; missing on the last one"`
}

// District is one kabupaten or kota.
type District struct {
	Code      string  `json:"code" doc:"BPS code" example:"3374"`
	Name      string  `json:"name" doc:"With its prefix: four names stand twice"`
	Latitude  float64 `json:"latitude" doc:"Centroid, degrees north, WGS 84"`
	Longitude float64 `json:"longitude" doc:"Centroid, degrees east"`
	Sites     int     `json:"sites" doc:"Sites there that this interface shows"`
}

// Site is a place where something is measured.
type Site struct {
	Code        string       `json:"code" doc:"Permanent"`
	Name        string       `json:"name"`
	District    string       `json:"district" doc:"BPS code of the kabupaten or kota"`
	Subdistrict string       `json:"subdistrict,omitempty" doc:"BPS code of the kecamatan"`
	Latitude    *float64     `json:"latitude" doc:"Degrees north, WGS 84; null = not known yet"`
	Longitude   *float64     `json:"longitude" doc:"Degrees east, WGS 84; null = not known yet"`
	Class       string       `json:"class" enum:"acuan,sni9178,indikatif" doc:"What its figures may be used for, today: reference analyser, tested by SNI 9178:2023, or indicative, which yields an estimate and no ISPU"`
	Certificate *Certificate `json:"certificate,omitempty" doc:"What the class rests on"`
	Operator    string       `json:"operator,omitempty" doc:"Who runs it"`
	Closed      *time.Time   `json:"closed,omitempty" doc:"Since when nothing is measured there any more"`
	Quantities  []Quantity   `json:"quantities" doc:"What is or was measured there"`
	Simulated   bool         `json:"simulated" doc:"Its data are artificial"`
}

// Certificate is what a class rests on.
type Certificate struct {
	Number     string     `json:"number,omitempty"`
	Issuer     string     `json:"issuer,omitempty"`
	Collocated *time.Time `json:"collocated,omitempty" doc:"When it stood beside a reference"`
	Expires    *time.Time `json:"expires,omitempty"`
}

// Quantity is something that is measured.
type Quantity struct {
	Name string `json:"name" example:"pm2_5"`
	Unit string `json:"unit" example:"µg/m³"`
}

// Sensor is one instrument.
type Sensor struct {
	ID          string       `json:"id" doc:"Permanent"`
	Name        string       `json:"name,omitempty"`
	Maker       string       `json:"maker,omitempty"`
	Model       string       `json:"model,omitempty"`
	Calibrated  *time.Time   `json:"calibrated,omitempty" doc:"Last calibration"`
	Deployments []Deployment `json:"deployments" doc:"Where it hung and hangs, oldest first; only sites that this interface shows"`
}

// Deployment says when a sensor hung at a site.
type Deployment struct {
	Site string     `json:"site"`
	From *time.Time `json:"from" doc:"null = since the beginning"`
	To   *time.Time `json:"to" doc:"null = still"`
	Main []string   `json:"main" doc:"Quantities for which it is the site's main sensor; null = all that no other claims"`
}

// Reading is the newest of one quantity.
type Reading struct {
	Site      string    `json:"site"`
	Quantity  string    `json:"quantity"`
	Unit      string    `json:"unit"`
	Time      time.Time `json:"time" doc:"When it was measured"`
	Value     *float64  `json:"value" doc:"null: a gap. A value with a flag counts nowhere"`
	Flag      string    `json:"flag,omitempty" doc:"Why quality control rejects the value"`
	Gap       string    `json:"gap,omitempty" doc:"Why nothing was read"`
	Sensor    string    `json:"sensor,omitempty" doc:"The main sensor; missing = not registered"`
	Class     string    `json:"class" enum:"acuan,sni9178,indikatif"`
	Status    string    `json:"status" enum:"sementara,tervalidasi" doc:"Provisional, or closed by a validator"`
	Simulated bool      `json:"simulated"`
}

// Observation is one quantity over a span, or one reading.
type Observation struct {
	Site      string         `json:"site"`
	Quantity  string         `json:"quantity"`
	Unit      string         `json:"unit"`
	Start     time.Time      `json:"start" doc:"Begin of the span; equal to end for a reading"`
	End       time.Time      `json:"end" doc:"End of the span, not included; a reading's time"`
	Value     *float64       `json:"value" doc:"Mean of the span, or of a counter its increase; null: nothing valid. What a rejected reading said"`
	Minimum   *float64       `json:"minimum" doc:"Lowest reading; null = not known"`
	Maximum   *float64       `json:"maximum" doc:"Highest reading; null = not known"`
	Valid     int            `json:"valid" doc:"What entered: readings of an hour, hours of a longer span"`
	Expected  int            `json:"expected" doc:"What should have entered; 0 = not known"`
	Complete  bool           `json:"complete" doc:"It counts: enough of the span is valid, and an hour is not one of a suspect run of zeros"`
	Excluded  string         `json:"excluded,omitempty" enum:"no_reading,too_few,zero_run" doc:"Why an hour does not count"`
	Rejected  map[string]int `json:"rejected,omitempty" doc:"Readings that quality control or a validator rejected, by reason"`
	Gaps      map[string]int `json:"gaps,omitempty" doc:"Readings that failed, by reason"`
	Sensor    string         `json:"sensor,omitempty" doc:"Of a reading: the sensor, if it is registered"`
	Status    string         `json:"status" enum:"sementara,tervalidasi"`
	Class     string         `json:"class" enum:"acuan,sni9178,indikatif" doc:"Of the site at that time"`
	Revision  int            `json:"revision" doc:"0 for the first; grows when the value changes"`
	Simulated bool           `json:"simulated"`
}

// Index is one station's index at one time.
type Index struct {
	ID        string     `json:"id" doc:"Of its trace"`
	Kind      string     `json:"kind" enum:"hourly,daily" doc:"hourly: the mean of the valid hours of the last 24; daily: of the day in WIB. Never to be mixed"`
	Site      string     `json:"site"`
	District  string     `json:"district"`
	Start     time.Time  `json:"start"`
	End       time.Time  `json:"end"`
	Valid     bool       `json:"valid" doc:"false: too little data to judge; value, category and dominant are then null"`
	Value     *int       `json:"value" doc:"ISPU; 500 with above_500"`
	Above500  bool       `json:"above_500" doc:"Beyond the table: write it as above 500, with the concentration"`
	Category  *string    `json:"category" enum:"baik,sedang,tidak_sehat,sangat_tidak_sehat,berbahaya"`
	Dominant  *string    `json:"dominant" doc:"Parameter with the highest sub-index"`
	Judged    int        `json:"judged" doc:"How many of the seven parameters entered"`
	Parts     []Part     `json:"parts" doc:"The parameters that the site measures"`
	Estimate  bool       `json:"estimate" doc:"Of an indicative site: an estimate, not an ISPU"`
	Status    string     `json:"status" enum:"sementara,tervalidasi"`
	Class     string     `json:"class" enum:"acuan,sni9178,indikatif"`
	Revision  int        `json:"revision" doc:"More than 0: a correction"`
	Reason    string     `json:"reason,omitempty" doc:"Of a revision: late_data, validation, deployment, rules"`
	Rules     int        `json:"rules" doc:"Version of the rules in force"`
	Computed  time.Time  `json:"computed"`
	Published *time.Time `json:"published" doc:"When it was first shown to the public"`
	Simulated bool       `json:"simulated"`
	Hash      string     `json:"hash" doc:"SHA-256 of its trace"`
	Trace     string     `json:"trace" format:"uri-reference" doc:"How it was computed"`
}

// Part is one parameter of an index.
type Part struct {
	Parameter string   `json:"parameter" enum:"pm10,pm2_5,so2,co,o3,no2,hc"`
	Mean      *float64 `json:"mean" doc:"µg/m³ at 25 °C and 1 atm; null: no valid hour"`
	Hours     int      `json:"hours" doc:"Valid hours that entered"`
	Age       int      `json:"age" doc:"Hours since the newest valid one"`
	Valid     bool     `json:"valid" doc:"Enough hours for it to count"`
	Value     *int     `json:"value" doc:"Sub-index"`
	Above500  bool     `json:"above_500"`
	Category  *string  `json:"category" enum:"baik,sedang,tidak_sehat,sangat_tidak_sehat,berbahaya"`
}

// Trace is everything that a figure was computed from.
type Trace struct {
	Figure     Index         `json:"figure"`
	Hours      []TraceHour   `json:"hours" doc:"The hours of the window, in the version that entered"`
	Rules      figures.Rules `json:"rules" doc:"All settings in force"`
	RulesSince time.Time     `json:"rules_since"`
	Articles   []string      `json:"articles" doc:"Of the regulation"`
	Record     string        `json:"record" format:"uri-reference" doc:"The record itself, byte by byte as it was hashed"`
}

// TraceHour is one hour that entered a figure.
type TraceHour struct {
	Quantity string         `json:"quantity" doc:"As measured: a gas in ppb stays in ppb"`
	Unit     string         `json:"unit"`
	End      time.Time      `json:"end"`
	Version  int            `json:"version"`
	Mean     *float64       `json:"mean" doc:"null: nothing valid"`
	Minimum  *float64       `json:"minimum" doc:"Lowest reading: an hour of nothing but exact zeros is suspect"`
	Maximum  *float64       `json:"maximum" doc:"Highest reading"`
	Valid    int            `json:"valid"`
	Expected int            `json:"expected"`
	Excluded string         `json:"excluded,omitempty" enum:"no_reading,too_few,zero_run,no_gas,beside" doc:"Why it did not enter: too few readings, a suspect run of zeros, no declared calibration gas, or another quantity of the parameter entered instead"`
	Rejected map[string]int `json:"rejected,omitempty"`
	Gaps     map[string]int `json:"gaps,omitempty"`
}

// Exceedance is an episode above a limit of PP 22/2021.
type Exceedance struct {
	Site      string    `json:"site"`
	Quantity  string    `json:"quantity"`
	Period    string    `json:"period" enum:"1h,3h,8h,24h,1y" doc:"Averaging time of the standard"`
	Limit     float64   `json:"limit" doc:"µg/m³ at 25 °C and 1 atm"`
	From      time.Time `json:"from" doc:"End of the first window above"`
	To        time.Time `json:"to" doc:"End of the last window above"`
	Peak      float64   `json:"peak" doc:"Highest mean, µg/m³"`
	Standard  string    `json:"standard"`
	Simulated bool      `json:"simulated"`
	Record    string    `json:"record" doc:"Address of the whole year's comparison with this limit: hours, rules and hash, from which it can be made again"`
}

// Bulletin is what the agency published at a fixed hour.
type Bulletin struct {
	ID        string    `json:"id" example:"2026-11-23-0900"`
	At        time.Time `json:"at"`
	Revision  int       `json:"revision" doc:"0 for the first; more: it corrects what came before"`
	Number    string    `json:"number,omitempty" doc:"Of the letter"`
	Published time.Time `json:"published"`
	Agency    string    `json:"agency"`
	Signer    string    `json:"signer,omitempty"`
	Title     string    `json:"title,omitempty" doc:"Of the signer"`
	Reason    string    `json:"reason,omitempty" doc:"Of a revision"`
	Changes   []Change  `json:"changes,omitempty" doc:"Against the revision before"`
	Figures   []Index   `json:"figures"`
	Simulated bool      `json:"simulated"`
	Hash      string    `json:"hash" doc:"SHA-256 of the bulletin's record"`
	Page      string    `json:"page" format:"uri-reference"`
	PDF       string    `json:"pdf" format:"uri-reference"`
}

// Change is one figure that a revision corrects.
type Change struct {
	Site   string `json:"site"`
	Reason string `json:"reason"`
	Before Index  `json:"before"`
	After  Index  `json:"after"`
}
