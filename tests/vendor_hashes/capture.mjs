// Runs the vendors' JavaScript libraries over `corpus.json`; see README.md. The files have the form of
// those that `capture.py` writes.
import {createHash} from 'node:crypto';
import {readFileSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {join} from 'node:path';

const here = import.meta.dirname ?? new URL('.', import.meta.url).pathname;
const require = createRequire(join(process.cwd(), 'node_modules', 'x.js'));
const corpus = JSON.parse(readFileSync(join(here, 'corpus.json'), 'utf8'));
const sha256 = text => createHash('sha256').update(text).digest('hex');

// Meta's library for parameters of the Conversions API, in the pixel's own code.
const {getNormalizedPII, getNormalizedAndHashedPII} =
  require('capi-param-builder-nodejs/src/piiUtil/PIIUtil.js');
const KINDS = {
  email: 'email', phone: 'phone', first_name: 'first_name', last_name: 'last_name', city: 'city',
  state: 'state', zip: 'zip_code', country: 'country', date_of_birth: 'date_of_birth',
  gender: 'gender', external_id: 'external_id',
};
const builder = kind => KINDS[kind] && (text => {
  // The hash is followed by a mark of the library's.
  const made = getNormalizedAndHashedPII(text, KINDS[kind])?.split('.')[0];
  const hashed = /^[0-9a-f]{64}$|^[0-9a-f]{32}$/i.test(text.trim());
  return [hashed ? text.trim().toLowerCase() : getNormalizedPII(text, KINDS[kind]), made];
});

// Meta's business SDK, which returns hashes only: the normal form is that of its single steps.
const {ServerSideUtils: utils} = require('facebook-nodejs-business-sdk');
const STEPS = {
  email: ['em', 'normalizeEmail'], phone: ['ph', 'normalizePhone'], first_name: ['fn'],
  last_name: ['ln'], city: ['ct', 'normalizeCity'], state: ['st', 'normalizeState'],
  zip: ['zp', 'normalizeZip'], country: ['country', 'normalizeCountry'],
  gender: ['ge', 'normalizeGender'],
};
const sdk = kind => STEPS[kind] && (text => {
  const [field, step] = STEPS[kind];
  const made = utils.normalizeAndHash(text, field);
  const lower = text.trim().toLowerCase();
  return [made === lower || !step ? lower : utils[step](lower), made];
});

const said = (run, text) => {
  try {
    const [normal, made] = run(text);
    if (!normal || !made) return null;
    if (made !== normal && made !== sha256(normal)) throw new RangeError(`${normal} ${made}`);
    return [normal, made];
  } catch (error) {
    if (error instanceof RangeError) throw error;
    return null;
  }
};

const ascii = value =>
  JSON.stringify(value).replace(/[\u007f-\uffff]/g, unit => '\\u' + unit.charCodeAt(0).toString(16).padStart(4, '0'));

const capture = (file, library, what, runs) => {
  const {version} = require(`${library}/package.json`);
  const head = Object.entries({library, version, what}).map(([name, value]) => `  ${ascii(name)}: ${ascii(value)}`);
  const kinds = Object.entries(corpus).flatMap(([kind, cases]) => {
    const run = runs(kind);
    if (!run) return [];
    const texts = cases.map(one => (typeof one === 'string' ? one : one[0]));
    const seen = new Set();
    const rows = texts.filter(text => !seen.has(text) && seen.add(text)).map(text => {
      const value = said(run, text);
      return `    ${ascii(text)}: ${value ? `[${value.map(ascii).join(', ')}]` : 'null'}`;
    });
    return [`  ${ascii(kind)}: {\n${rows.join(',\n')}\n  }`];
  });
  writeFileSync(join(here, file), `{\n${[...head, ...kinds].join(',\n')}\n}\n`);
};

capture('capi_param_builder.json', 'capi-param-builder-nodejs', 'piiUtil/PIIUtil.js', builder);
capture('facebook_nodejs_business_sdk.json', 'facebook-nodejs-business-sdk', 'ServerSideUtils', sdk);

// Google's utilities for Node.js, which are not in the registry of npm.
const {UserDataFormatter} = require('@google-ads/datamanager-util');
const formatter = new UserDataFormatter();
const METHODS = {
  email: 'EmailAddress', phone: 'PhoneNumber', first_name: 'GivenName', last_name: 'FamilyName',
  zip: 'PostalCode', country: 'RegionCode',
};
const google = kind => METHODS[kind] && (text =>
  [formatter[`format${METHODS[kind]}`](text), formatter[`process${METHODS[kind]}`](text, 'hex')]);
capture('google_ads_datamanager_node.json', '@google-ads/datamanager-util', 'UserDataFormatter', google);
