//! HTTP as bytes on a socket: for requests that no HTTP library would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back, or nothing but the end of the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    /// 0: the server hung up without a word.
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    /// Sends the bytes and reads until the server closes; the request has to say `Connection: close`.
    pub(crate) async fn to(address: SocketAddr, request: &[u8]) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        let (mut reader, mut writer) = stream.into_split();
        let request = request.to_vec();
        // A server that has seen enough answers and closes before everything is sent.
        let sending = tokio::spawn(async move {
            let _ = writer.write_all(&request).await;
            writer
        });
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut bytes)).await;
        assert!(
            read.is_ok(),
            "the connection stays open: {}",
            String::from_utf8_lossy(&bytes)
        );
        sending.abort();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Self {
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Self::default();
        };
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|code| code.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<(String, String)> = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self {
            status: status.unwrap_or_default(),
            headers,
            body: body.to_owned(),
        }
    }

    /// The first header field of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// The `error` of a JSON body in the one shape that errors have.
    pub(crate) fn error(&self) -> Option<String> {
        let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&self.body).ok()?;
        let known = ["error", "error_description", "error_uri"];
        let is_shaped = json
            .iter()
            .all(|(name, value)| known.contains(&name.as_str()) && value.is_string());
        let is_json = self.header("content-type")?.starts_with("application/json");
        (is_shaped && is_json).then(|| json["error"].as_str().map(str::to_owned))?
    }
}
