//! The words which inventions are made of.

use crate::users::Country;

/// The most popular first: tastes and impulses both lean towards the front.
#[rustfmt::skip]
pub(crate) const CATEGORIES: [&str; 10] = [
    "Rock", "Pop", "Country", "Jazz", "Classical", "Soundtracks", "Hip-Hop", "Blues", "Folk", "Electronic",
];

#[rustfmt::skip]
pub(crate) const ACCOUNT_PLACES: [&str; 15] = [
    "Harbour", "Northside", "Riverside", "Old Town", "Hilltop", "Station Road", "Lakeview", "Market Square",
    "Parkside", "Westgate", "Chapel Street", "Sunnyfield", "Mill Lane", "Bayfront", "Kingfisher",
];

#[rustfmt::skip]
pub(crate) const ACCOUNT_KINDS: [&str; 10] = [
    "Radio", "Library", "Café", "Music School", "Hotel", "Dance Studio", "Cinema", "Theatre", "Youth Club",
    "Records",
];

#[rustfmt::skip]
pub(crate) const FIRST_NAMES: [&str; 48] = [
    "Ada", "Alan", "Amara", "Ben", "Bruno", "Carla", "Cedric", "Chloe", "Clara", "Daniel", "Dora", "Edgar",
    "Elena", "Emil", "Esther", "Felix", "Fiona", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jamal", "Joan",
    "José", "Jürgen", "Karim", "Kate", "Leo", "Lena", "Marta", "Miles", "Nadia", "Nina", "Noah", "Olga",
    "Oscar", "Paul", "Priya", "Renée", "Rosa", "Samir", "Sofia", "Theo", "Uma", "Victor", "Yuki", "Zoë",
];

#[rustfmt::skip]
pub(crate) const LAST_NAMES: [&str; 48] = [
    "Abbott", "Adeyemi", "Anders", "Baker", "Barlow", "Bianchi", "Brandt", "Carver", "Castillo", "Chen",
    "Cole", "Dubois", "Eriksen", "Fischer", "Fontaine", "Garland", "Gupta", "Hale", "Hart", "Holloway",
    "Ibrahim", "Ito", "Jensen", "Keller", "Kowalski", "Lambert", "Lindqvist", "Marsh", "Mercer", "Moreau",
    "Müller", "Nakamura", "Novak", "Núñez", "O'Neill", "Okafor", "Osborne", "Park", "Pereira", "Quinn",
    "Rossi", "Sandberg", "Sharma", "Silva", "Thorne", "Vance", "Whitaker", "Winslow",
];

#[rustfmt::skip]
pub(crate) const HOME_DOMAINS: [&str; 6] = [
    "example.org", "example.net", "mail.example.com", "mail.example.org", "post.example.net", "home.example.org",
];

#[rustfmt::skip]
pub(crate) const WORK_DOMAINS: [&str; 5] = [
    "bakery.example.com", "clinic.example.com", "college.example.org", "press.example.net", "studio.example.com",
];

/// Where most customers live comes first. The telephone numbers are those kept free for films and books.
#[rustfmt::skip]
pub(crate) const COUNTRIES: [Country; 6] = [
    Country { code: "US", percent: 56, digits: 2, prefixes: &[
        "+1 212 555 01", "+1 213 555 01", "+1 305 555 01", "+1 312 555 01", "+1 404 555 01", "+1 415 555 01",
        "+1 503 555 01", "+1 512 555 01", "+1 602 555 01", "+1 617 555 01", "+1 702 555 01", "+1 713 555 01",
    ] },
    Country { code: "GB", percent: 15, digits: 3, prefixes: &["+44 20 7946 0"] },
    Country { code: "CA", percent: 9, digits: 2, prefixes: &["+1 416 555 01", "+1 514 555 01", "+1 604 555 01"] },
    Country { code: "DE", percent: 8, digits: 3, prefixes: &["+49 30 23125 "] },
    Country { code: "FR", percent: 7, digits: 4, prefixes: &["+33 1 99 00 "] },
    Country { code: "AU", percent: 5, digits: 4, prefixes: &["+61 2 5550 "] },
];
