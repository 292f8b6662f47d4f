//! An answer of the broker's that never comes, while everything else does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// Class and method of `basic.consume-ok`, as a method frame begins
/// ([AMQP 0-9-1, section 4.2.4](https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf)).
const CONSUME_OK: [u8; 4] = [0, 60, 0, 21];
/// Type, channel and size of a frame; its payload and one byte of end follow.
const FRAME_HEAD: usize = 7;
const METHOD: u8 = 1;

/// Passes everything on to `broker` and back, but for the first `answers` of `basic.consume-ok`.
async fn swallowing(broker: SocketAddr, answers: Arc<AtomicUsize>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let answers = Arc::clone(&answers);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_broker, mut to_broker) = TcpStream::connect(broker).await?.into_split();
                tokio::spawn(async move { copy(&mut from_client, &mut to_broker).await });
                loop {
                    let mut frame = vec![0; FRAME_HEAD];
                    from_broker.read_exact(&mut frame).await?;
                    let size = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
                    frame.resize(FRAME_HEAD + size + 1, 0);
                    from_broker.read_exact(&mut frame[FRAME_HEAD..]).await?;
                    let is_answer = frame[0] == METHOD && frame[FRAME_HEAD..].starts_with(&CONSUME_OK);
                    let one_less = |left: usize| left.checked_sub(1);
                    if is_answer && answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                        continue;
                    }
                    to_client.write_all(&frame).await?;
                }
                #[expect(unreachable_code, reason = "says what the loop ends with")]
                Ok::<(), std::io::Error>(())
            });
        }
    });
    Ok(address)
}

// The broker has begun to deliver, and we do not know. What it delivers there must not wait for as long as the connection
// lives: the consumer that is asked for next gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_answer_was_lost_keeps_no_delivery() {
    let mut bench = Bench::shared().await;
    let publisher = bench.publisher_up().await;
    publisher.publish(&event()).await.expect("confirmed");
    let answers = Arc::new(AtomicUsize::new(1));
    let mut url = url::Url::parse(bench.broker.url()).expect("a URL");
    let broker = SocketAddr::from(([127, 0, 0, 1], url.port().unwrap_or(5672)));
    let proxy = swallowing(broker, Arc::clone(&answers)).await.expect("a port");
    url.set_port(Some(proxy.port())).expect("a URL with a host");
    bench.settings = RabbitMqSettings::try_new([url.as_str()]).expect("a valid URL");
    let queue = bench.queue_up().await;
    let mut deliveries = queue.consume(&orders(), 8);
    let delivery = tokio::time::timeout(PATIENCE, deliveries.next()).await.expect("it is delivered again");
    assert_eq!(answers.load(Ordering::SeqCst), 0, "an answer was lost");
    delivery.expect("a delivery").ticket.ack().await.expect("acknowledged");
    queue.close().await;
    publisher.close().await;
    bench.finish().await;
}
