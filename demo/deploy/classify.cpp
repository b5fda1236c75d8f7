// Classifies an image with a file of `mmvmamba export --format openvino`: OpenVINO's C++ library,
// which comes with `pip install openvino`, and nothing else.
//
//   OV=$(python -c 'import openvino; print(openvino.__path__[0])')
//   g++ -std=c++17 -O2 demo/deploy/classify.cpp -I$OV/include $OV/libs/libopenvino.so.* -Wl,-rpath,$OV/libs -o classify
//   ./classify model.xml image.ppm
//
// Images are binary PPM files, which every image program writes (convert image.jpg image.ppm).

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <numeric>
#include <openvino/openvino.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Image {
  int width = 0, height = 0;
  std::vector<float> values;  // height * width * 3, from 0 to 255
};

Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("there is no image " + path);
  std::string magic;
  int levels = 0;
  Image image;
  file >> magic;
  auto number = [&file]() {
    while ((file >> std::ws).peek() == '#') file.ignore(1 << 20, '\n');
    int value = 0;
    file >> value;
    return value;
  };
  image.width = number(), image.height = number(), levels = number();
  file.get();
  if (!file || magic != "P6" || levels != 255 || image.width < 1 || image.height < 1)
    throw std::runtime_error(path + " is no binary PPM image of 8 bits");
  std::vector<unsigned char> bytes(size_t(3) * image.width * image.height);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), bytes.size()))
    throw std::runtime_error(path + " ends too early");
  image.values.assign(bytes.begin(), bytes.end());
  return image;
}

double cubic(double x) {
  x = std::fabs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

// Resizes the first axis of (from, rest) as Pillow does: the filter widens as the image shrinks.
std::vector<float> resize(const std::vector<float>& values, int from, int to) {
  const size_t rest = values.size() / from;
  const double scale = double(from) / to, reach = std::max(scale, 1.0);
  std::vector<float> out(rest * to, 0.f);
  for (int i = 0; i < to; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(0, int(center - 2 * reach + 0.5));
    const int last = std::min(from, int(center + 2 * reach + 0.5));
    double sum = 0;
    for (int j = first; j < last; ++j) sum += cubic((j - center + 0.5) / reach);
    for (int j = first; j < last; ++j) {
      const float weight = float(cubic((j - center + 0.5) / reach) / sum);
      for (size_t k = 0; k < rest; ++k) out[i * rest + k] += weight * values[j * rest + k];
    }
  }
  for (float& x : out) x = std::round(std::clamp(x, 0.f, 255.f));
  return out;
}

Image transposed(const Image& image) {
  Image other{image.height, image.width, std::vector<float>(image.values.size())};
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < image.width; ++x)
      for (int c = 0; c < 3; ++c)
        other.values[(size_t(x) * image.height + y) * 3 + c] =
            image.values[(size_t(y) * image.width + x) * 3 + c];
  return other;
}

Image resized(Image image, int width, int height) {
  image = transposed(image);  // now x is the first axis
  image.values = resize(image.values, image.height, width);
  image.height = width;
  image = transposed(image);
  image.values = resize(image.values, image.height, height);
  image.height = height;
  return image;
}

// The metadata are JSON that mmvmamba wrote: one object of numbers, texts and lists of them.
std::string value_of(const std::string& json, const std::string& key) {
  const size_t found = json.find("\"" + key + "\": ");
  if (found == std::string::npos) throw std::runtime_error("the metadata do not say " + key);
  const size_t start = found + key.size() + 4;
  bool quoted = false;
  int depth = 0;
  size_t end = start;
  for (; end < json.size(); ++end) {
    const char c = json[end];
    if (quoted && c == '\\') { ++end; continue; }
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '[') ++depth;
    if (c == ']' && depth-- == 0) break;
    if ((c == ',' || c == '}') && depth == 0) break;
  }
  return json.substr(start, end - start);
}

std::vector<float> numbers(std::string text) {
  for (char& c : text)
    if (c == '[' || c == ']' || c == ',') c = ' ';
  std::vector<float> found;
  for (const char* at = text.c_str();;) {
    char* end = nullptr;
    const float value = std::strtof(at, &end);
    if (end == at) return found;
    found.push_back(value);
    at = end;
  }
}

std::vector<std::string> texts(const std::string& json) {
  std::vector<std::string> found;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] != '"') continue;
    std::string text;
    while (++i < json.size() && json[i] != '"') text += json[i] == '\\' ? json[++i] : json[i];
    found.push_back(text);
  }
  return found;
}

// Resizes, crops and norms as the model's authors did: 1 x 3 x height x width.
ov::Tensor prepare(Image image, const std::string& meta) {
  const auto size = numbers(value_of(meta, "size"));
  const int height = int(size.at(0)), width = int(size.at(1));
  const int side = int(numbers(value_of(meta, "resize")).at(0));
  if (value_of(meta, "crop_mode") == "\"squash\"") {
    image = resized(image, side, side);
  } else {
    const int shorter = std::min(image.width, image.height);
    image = resized(image, int(int64_t(side) * image.width / shorter),
                    int(int64_t(side) * image.height / shorter));
  }
  const int left = int(std::nearbyint((image.width - width) / 2.0));
  const int top = int(std::nearbyint((image.height - height) / 2.0));
  if (left < 0 || top < 0) throw std::runtime_error("the model's images are larger than resized ones");
  const auto mean = numbers(value_of(meta, "mean")), std_ = numbers(value_of(meta, "std"));
  ov::Tensor tensor(ov::element::f32, {1, 3, size_t(height), size_t(width)});
  float* out = tensor.data<float>();
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        const float value = image.values[(size_t(y + top) * image.width + x + left) * 3 + c];
        *out++ = (value / 255 - mean.at(c)) / std_.at(c);
      }
  return tensor;
}

void classify(const std::string& model_file, const std::string& image_file) {
  ov::Core core;
  const auto model = core.read_model(model_file);
  if (!model->has_rt_info("mmvmamba"))
    throw std::runtime_error(model_file + " is no file of mmvmamba export");
  const auto meta = model->get_rt_info<std::string>("mmvmamba");
  if (value_of(meta, "task") != "\"classification\"" || value_of(meta, "dtype") != "\"float32\"")
    throw std::runtime_error(model_file + " is no classifier in float32");
  const ov::Tensor images = prepare(read_ppm(image_file), meta);
  auto request = core.compile_model(model, "CPU", ov::hint::inference_precision(ov::element::f32))
                     .create_infer_request();
  request.set_input_tensor(images);
  request.infer();
  const ov::Tensor logits = request.get_output_tensor(0);
  std::vector<double> scores(logits.data<float>(), logits.data<float>() + logits.get_size());
  const double largest = *std::max_element(scores.begin(), scores.end());
  for (double& x : scores) x = std::exp(x - largest);
  const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  const auto names = texts(value_of(meta, "classes"));
  for (size_t i = 0; i < std::min<size_t>(5, order.size()); ++i)
    std::printf("%.4f  %s\n", scores[order[i]] / sum,
                names.empty() ? std::to_string(order[i]).c_str() : names.at(order[i]).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: classify model.xml image.ppm\n";
    return 2;
  }
  try {
    classify(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 2;
  }
  return 0;
}
